"""Every page that there is, and who looks at it. What paths name in braces is in world.py.

A page is named after what it shows: its pictures have that name.
"""

import re
from typing import NamedTuple
from urllib.parse import urlencode

from tests.buildsrht.oauth.asking import CHALLENGE, REDIRECT_URI

AUTHORIZE = urlencode(
    {
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": "jobs:read jobs:write",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
)


class Page(NamedTuple):
    """`who` is ada, who has everything, root, who administers, or nobody."""

    name: str
    who: str
    path: str
    status: int = 200


PAGES = (
    Page("home-signed-out", "nobody", "/"),
    Page("home", "ada", "/"),
    Page("home-new", "root", "/"),
    Page("user", "ada", "/~ada"),
    Page("user-searched", "nobody", "/~ada?search=status:failed+tags:hello"),
    Page("user-search-wrong", "nobody", "/~ada?search=status:none", 400),
    Page("user-without-jobs", "nobody", "/~root"),
    Page("user-unknown", "nobody", "/~nobody", 404),
    Page("tag", "ada", "/~ada/hello/main"),
    Page("job", "nobody", "/~ada/job/{failed}"),
    Page("job-success", "ada", "/~ada/job/{success}"),
    Page("job-running", "ada", "/~ada/job/{running}"),
    Page("job-queued", "ada", "/~ada/job/{queued}"),
    Page("job-pending", "ada", "/~ada/job/{pending}"),
    Page("job-lines", "nobody", "/~ada/job/{failed}?task=build&from=2"),
    Page("job-settings", "ada", "/~ada/job/{failed}/settings/details"),
    Page("job-settings-running", "ada", "/~ada/job/{running}/settings/details"),
    Page("job-cancel", "ada", "/cancel/{running}"),
    Page("login", "nobody", "/login?return_to=/account"),
    Page("not-found", "ada", "/there/is/no/such/page", 404),
    Page("submit", "ada", "/submit"),
    Page("submit-by-link", "ada", "/submit?manifest=image:%20debian/trixie%0Atasks:%20[]"),
    Page("resubmit", "ada", "/resubmit/{failed}"),
    Page("resubmit-of-another", "root", "/resubmit/{failed}"),
    Page("secrets", "ada", "/secrets"),
    Page("secrets-none", "root", "/secrets"),
    Page("ssh-keys", "ada", "/ssh-keys"),
    Page("webhooks", "ada", "/webhooks"),
    Page("webhook", "ada", "/webhooks/{webhook}"),
    Page("webhooks-none", "root", "/webhooks"),
    Page("deliveries", "ada", "/deliveries"),
    Page("delivery", "ada", "/deliveries/1"),
    Page("hooks", "ada", "/hooks"),
    Page("hook", "ada", "/hooks/{hook}/pushes"),
    Page("admin", "root", "/admin"),
    Page("admin-jobs", "root", "/admin/jobs"),
    Page("admin-hosts", "root", "/admin/hosts"),
    Page("admin-users", "root", "/admin/users"),
    Page("admin-user", "root", "/admin/users/ada"),
    Page("account", "ada", "/account"),
    Page("tokens", "ada", "/oauth2/personal-token"),
    Page("grants", "ada", "/oauth2/grants"),
    Page("clients", "ada", "/oauth2/clients"),
    Page("consent", "ada", f"/oauth2/authorize?client_id={{client_id}}&{AUTHORIZE}"),
    Page("device", "ada", "/oauth2/device"),
    Page("device-consent", "ada", "/oauth2/device?user_code={user_code}"),
    Page("device-unknown", "ada", "/oauth2/device?user_code=NONE-NONE", 404),
)

# Routes of the pages' blueprint that show none: files, pictures and feeds, and what only leads on.
NO_PAGES = re.compile(r"/static/.*|.*\.(svg|xml)|/login/provider(/callback)?")

PICTURES_OF_JOBS = {
    "badge": "/~ada.svg?name=nightly",
    "badge-of-nobody": "/~nobody.svg",
    "badge-of-tag": "/~ada/hello.svg",
    "icon": "/~ada/job/{running}/icon.svg",
}
