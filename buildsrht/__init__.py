"""The domain of the job queue, and everything that speaks to people and clients."""
