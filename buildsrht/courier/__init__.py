"""What is told to others: emails and webhooks at the end of jobs and groups.

addresses    which hosts may be asked for a user's sake
"""
