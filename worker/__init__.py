"""What runs on a build host: takes jobs from the queue and runs each in a throwaway VM."""
