"""Every page that there is, and who looks at it. What paths name in braces is in world.py.

A page is named after what it shows: its pictures have that name. A form that is refused answers
with a page too, which nobody comes to by its address: those are below.
"""

import re
from typing import NamedTuple
from urllib.parse import urlencode

from tests.buildsrht.oauth.asking import CHALLENGE, REDIRECT_URI
from tests.web_browser.world import PASSWORD

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
    Page("register", "nobody", "/register"),
    Page("forgot", "nobody", "/forgot"),
    Page("forgot-asked", "nobody", "/forgot?asked=yes"),
    Page("reset", "nobody", "/reset/{reset}"),
    Page("reset-gone", "nobody", "/reset/no-such-text", 404),
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
    Page("admin-notice", "root", "/admin/notice"),
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


# --- forms that are refused -----------------------------------------------------------------------

LONG = "x" * 2000
BAD_MANIFEST = "image: debian/none\ntasks:\n- build: [make]\n- no task: |\n    make\nsource: []\n"
BAD_QUERY = "query { webhook { uuid nothing } }"


class Refusal(NamedTuple):
    """The form on the page at `path` that leads to `action`, sent with these fields and others as
    they are. None is a box that is not ticked; what a list does not offer sends nothing."""

    name: str
    who: str
    path: str
    action: str
    fields: dict[str, str | None]
    status: int = 400


SETTINGS = "/~ada/job/{failed}/settings"
HOOK = "/hooks/{hook}"
ADMIN = "/admin/users/root"

REFUSALS = (
    Refusal("login", "nobody", "/login", "/login", {"name": '"<b>', "password": "x"}, 401),
    Refusal("login-too-old", "nobody", "/login", "/login", {"csrf": ""}, 403),
    Refusal(
        "register",
        "nobody",
        "/register",
        "/register",
        {"name": 'A "name"', "email": "<at>", "password": "short", "again": "short"},
    ),
    Refusal("register-not-twice", "nobody", "/register", "/register", {"again": "another"}),
    Refusal("reset", "nobody", "/reset/{reset}", "/reset/{reset}", {"new": "x", "again": "x"}),
    Refusal("reset-not-twice", "nobody", "/reset/{reset}", "/reset/{reset}", {"again": "x"}),
    Refusal("password", "ada", "/account", "/account/password", {"password": "x"}, 403),
    Refusal(
        "password-new",
        "ada",
        "/account",
        "/account/password",
        {"password": PASSWORD, "new": "short", "again": "short"},
    ),
    Refusal("email", "ada", "/account", "/account/email", {"current": "x"}, 403),
    Refusal(
        "email-new",
        "ada",
        "/account",
        "/account/email",
        {"email": 'a "b"', "current": PASSWORD},
    ),
    Refusal(
        "submit",
        "ada",
        "/submit",
        "/submit",
        {
            "manifest": BAD_MANIFEST,
            "note": 20 * LONG,
            "tags": "a b//c",
            "visibility": "",
            "key": LONG,
        },
    ),
    Refusal("submit-nothing", "ada", "/submit", "/submit", {"manifest": ""}),
    Refusal(
        "resubmit",
        "ada",
        "/resubmit/{failed}",
        "/resubmit/{failed}",
        {"manifest": f"tasks: {LONG}", "tags": "<i>"},
    ),
    Refusal(
        "resubmit-as-it-is",
        "ada",
        "/resubmit/{failed}",
        "/resubmit/{failed}/as-it-is",
        {"key": LONG},
    ),
    Refusal(
        "job-settings",
        "ada",
        f"{SETTINGS}/details",
        f"{SETTINGS}/details",
        {"visibility": "", "tags": "a b//c", "note": 20 * LONG},
    ),
    Refusal("job-delete", "ada", f"{SETTINGS}/details", f"{SETTINGS}/delete", {"confirm": "no"}),
    Refusal(
        "secret",
        "ada",
        "/secrets",
        "/secrets",
        {"kind": "file", "name": LONG, "path": "../x", "mode": "9", "material": ""},
    ),
    Refusal("secret-kind", "ada", "/secrets", "/secrets", {"kind": "", "material": "x"}),
    Refusal("secret-key", "ada", "/secrets", "/secrets", {"kind": "pgp_key", "material": "<b>"}),
    Refusal(
        "secret-share", "ada", "/secrets", "/secrets/{secret}/share", {"user": "<nobody>"}, 404
    ),
    Refusal("secret-share-self", "ada", "/secrets", "/secrets/{secret}/share", {"user": "ada"}),
    Refusal("ssh-key", "ada", "/ssh-keys", "/ssh-keys", {"key": "ssh-rsa </textarea>"}),
    Refusal(
        "webhook",
        "ada",
        "/webhooks",
        "/webhooks",
        {"url": "<at>", "query": BAD_QUERY, "JOB_CREATED": None, "JOB_UPDATED": None},
    ),
    Refusal(
        "hook",
        "ada",
        "/hooks",
        "/hooks",
        {"repository": "<at>", "credential": "x", "public_key": "x"},
    ),
    Refusal("hook-lists", "ada", "/hooks", "/hooks", {"forge": "", "visibility": ""}),
    Refusal("hook-change", "ada", f"{HOOK}/pushes", f"{HOOK}/change", {"credential": "x"}),
    Refusal("hook-visibility", "ada", f"{HOOK}/pushes", f"{HOOK}/change", {"visibility": ""}),
    Refusal(
        "token",
        "ada",
        "/oauth2/personal-token",
        "/oauth2/personal-token",
        {"JOBS": "", "LOGS": "", "PROFILE": "", "SECRETS": "", "days": "0", "comment": LONG},
    ),
    Refusal(
        "client",
        "ada",
        "/oauth2/clients",
        "/oauth2/clients",
        {"name": "", "description": LONG, "url": "<at>", "redirect_uris": "<at> x"},
    ),
    Refusal("device", "ada", "/oauth2/device", "/oauth2/device", {"user_code": '"<b>'}, 404),
    Refusal(
        "device-gone",
        "ada",
        "/oauth2/device?user_code={user_code}",
        "/oauth2/device",
        {"user_code": "NONE-NONE"},
        404,
    ),
    Refusal("admin-dismiss", "root", ADMIN, f"{ADMIN}/dismiss", {}),
    Refusal("admin-suspend", "root", ADMIN, f"{ADMIN}/suspend", {}),
    Refusal("notice", "root", "/admin/notice", "/admin/notice", {"text": 20 * LONG}),
    Refusal(
        "notice-late", "root", "/admin/notice", "/admin/notice", {"text": "x", "before": "7"}, 409
    ),
)

# Routes of forms in which there is nothing to get wrong: most are one button.
BUTTONS = re.compile(
    r".*/(delete|remove|revoke|secret|replay|appoint|restore|sign-out|end|check|connect|keep)"
    r"|/admin/hosts/.*"
    r"|/(start|cancel)/.*|/logout|/forgot|/oauth2/authorize"
)
