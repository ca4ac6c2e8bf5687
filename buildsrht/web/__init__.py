"""Pages for people: to sign in, and to say which programs may act for them.

Complete without a script. Thin like the API: a view finds out who browses, reads a form, calls one
service and renders a template.

    browser     who browses: cookies, forms that are ours, the headers of every page
    errors      errors as pages
    words       what scopes allow, for people
    notice      what every page says on top
    signing_in, registering, resetting, provider, account, consent, devices, clients, grants,
    personal_tokens
                the pages; each has its `routes`
    submitting, secrets, ssh_keys, webhooks, deliveries, hooks
                likewise: jobs are submitted, and what else somebody has
    listing     jobs in lists: the first page, a user's, searches
    jobs        one job: its page, settings, start, cancel, delete
    job_logs    what that page shows of logs
    admin       what only administrators see and do
    forms, shown, markdown
                what forms bring, and texts of strangers
    rows        what lists show of a job
    badges, feeds
                what is told outside the pages: pictures and XML
    drawing, xml
                what those are made of
"""

from flask import Blueprint, Flask

from buildsrht.backend import Backend
from buildsrht.web import (
    account,
    admin,
    badges,
    browser,
    clients,
    consent,
    deliveries,
    devices,
    errors,
    feeds,
    grants,
    hooks,
    jobs,
    listing,
    personal_tokens,
    provider,
    registering,
    resetting,
    rows,
    secrets,
    signing_in,
    ssh_keys,
    submitting,
    webhooks,
)


def install(app: Flask, backend: Backend) -> None:
    pages = Blueprint(
        "web",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    browser.install(pages)
    errors.install(pages)
    rows.install(pages)
    provider.install(app, backend)
    for part in (
        *(signing_in, registering, resetting, provider, account),
        *(consent, devices, grants, personal_tokens, clients),
        *(submitting, secrets, ssh_keys, webhooks, deliveries, hooks),
        *(badges, feeds),
        *(listing, jobs, admin),
    ):
        pages.register_blueprint(part.routes)
    app.register_blueprint(pages)
