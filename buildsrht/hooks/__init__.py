"""What forges report, and the jobs that come of it: the submitters.

A forge sends a report to a hook's address. The API has it proven genuine (`signatures`) and read
(`payloads`), and stores what it comes down to as a push. The courier then has that built: the
manifests of the pushed commit are fetched (`fetching`), fitted to that commit (`editing`) and
submitted as jobs of the hook's owner (`building`).

Trusts no word of a report that its signature does not cover. Fetches from the repository that the
hook's owner named, never from one that a report names. Knows nothing of HTTP servers.

    event         what a report comes down to
    addresses     the URL of a repository, and what can be told from it
    signatures    is it the forge that says so?
    payloads      each forge's words for a push and a pull request
    fetching      git, kept on a short leash
    editing       a manifest that builds this commit
    rules         who wants to be built, and what the job is called
    building      one push, from its row to its jobs
"""
