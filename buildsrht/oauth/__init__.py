"""OAuth 2.0: who asks, proven by an access token, and what the token is good for.

Knows HTTP's headers and the token services; knows nothing of jobs.
"""

from buildsrht.oauth.resources import (
    ScopeMissing,
    TokenRefused,
    acting_token,
    acting_user,
    acting_user_if_any,
    install,
)

__all__ = [
    "ScopeMissing",
    "TokenRefused",
    "acting_token",
    "acting_user",
    "acting_user_if_any",
    "install",
]
