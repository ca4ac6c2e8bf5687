"""`POST /api/jobs`: what a submission may say, and what becomes of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from buildsrht.app import create_app
from buildsrht.backend import open_redis
from buildsrht.models import JobStatus, Visibility
from buildsrht.queue import job_queue
from buildsrht.services import dispatch
from tests.build_host import claim

LONE_SURROGATE = "\ud800"


def fields_of(response):
    return {error.get("field") for error in response.json["errors"]}


# --- a good submission ------------------------------------------------------------------------


def test_a_submission_is_answered_with_the_whole_job(submit, owner):
    job = submit(note="*hello*", tags=["hello", "main"]).json

    assert job.pop("created") == job.pop("updated")
    assert job == {
        "id": 1,
        "status": "queued",
        "setup_log": "http://127.0.0.1:5002/query/log/1/log",
        "tasks": [
            {
                "name": name,
                "status": "pending",
                "log": f"http://127.0.0.1:5002/query/log/1/{name}/log",
            }
            for name in ("build", "test")
        ],
        "note": "*hello*",
        "tags": "hello/main",
        "runner": None,
        "owner": {"canonical_name": "~owner", "name": "owner"},
        "visibility": "unlisted",
        "image": "debian/trixie",
        "arch": "amd64",
        "group": None,
        "attempt": 0,
        "fault": None,
    }


def test_the_answer_is_compact_json_on_one_line(submit):
    response = submit()

    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.text.startswith('{"id":1,"status":"queued",')
    assert response.text.endswith("}\n")


def test_what_is_answered_is_what_was_stored(submit, client_of, owner):
    job = submit(note="*hello*", tags=["hello", "main"], visibility="private").json

    assert client_of(owner).get("/api/jobs/1").json == job


def test_tasks_are_kept_in_the_order_of_the_manifest(submit, fetch):
    names = [f"task-{number}" for number in range(256)]
    tasks = "".join(f"- {name}: make\n" for name in names)

    job = submit(manifest=f"image: debian/trixie\ntasks:\n{tasks}").json

    assert [task["name"] for task in job["tasks"]] == names
    assert [task.name for task in fetch(1).tasks] == names


def test_a_job_for_its_shell_alone_has_no_tasks(submit, fetch):
    job = submit(manifest="image: debian/trixie\nshell: true\n").json

    assert (job["tasks"], fetch(1).tasks) == ([], [])


def test_times_are_utc_with_an_explicit_offset(submit):
    assert submit().json["created"][19:] == "+00:00"


def test_only_the_manifest_is_needed(submit, fetch):
    job = fetch(submit().json["id"])

    assert (job.note, job.tags, job.secrets) == (None, [], True)
    assert (job.status, job.visibility) == (JobStatus.QUEUED, Visibility.UNLISTED)


def test_null_means_that_an_optional_field_is_absent(submit, fetch):
    absent = dict.fromkeys(["note", "tags", "execute", "secrets", "visibility"])

    job = fetch(submit(**absent).json["id"])

    assert (job.note, job.tags, job.secrets) == (None, [], True)
    assert (job.status, job.visibility) == (JobStatus.QUEUED, Visibility.UNLISTED)


def test_a_job_goes_straight_into_the_queue(submit, backend):
    submit()

    assert backend.queue.enqueued_ids() == {1}


def test_a_job_that_is_held_back_waits_outside_the_queue(submit, backend):
    assert submit(execute=False).json["status"] == "pending"
    assert backend.queue.enqueued_ids() == set()


def test_secrets_can_be_held_back(submit, fetch):
    assert fetch(submit(secrets=False).json["id"]).secrets is False


@pytest.mark.parametrize("visibility", list(Visibility))
def test_visibility_is_one_of_three_words(submit, visibility):
    assert submit(visibility=visibility).json["visibility"] == visibility


def test_the_order_of_tags_is_kept_for_it_is_a_path(submit):
    assert submit(tags=["b", "a", "b", "0.1_x-y"]).json["tags"] == "b/a/b/0.1_x-y"


def test_an_empty_list_of_tags_is_none(submit):
    assert submit(tags=[]).json["tags"] is None


@pytest.mark.parametrize(
    ("manifest", "image", "arch"),
    [
        ("image: debian", "debian/trixie", "amd64"),
        ("image: debian/stable\narch: arm64", "debian/trixie", "arm64"),
        ("image: debian/oldstable\narch: default", "debian/bookworm", "amd64"),
    ],
)
def test_the_job_names_the_image_that_an_alias_stands_for(submit, manifest, image, arch):
    job = submit(manifest=f"{manifest}\nshell: true\n").json

    assert (job["image"], job["arch"]) == (image, arch)


def test_unknown_keys_are_ignored(submit):
    assert submit(**{"access:read": ["~owner"], "triggers": 5}).status_code == 200


@pytest.mark.parametrize("note", ["x" * 4096, "\U0001f600" * 4096, "", "</script>\r\n"])
def test_a_note_is_kept_as_it_is(submit, note):
    assert submit(note=note).json["note"] == note


@pytest.mark.parametrize(
    "comment", ["# ä \U0001f600", "#\ttab", "# ends without a line break", "#\r\n", "#\n\n\n"]
)
def test_the_manifest_comes_back_byte_for_byte(submit, client, manifest, comment):
    text = manifest + comment
    submit(manifest=text)

    response = client.get("/api/jobs/1/manifest")

    assert response.data == text.encode()
    assert response.content_type == "text/plain; charset=utf-8"


# --- a bad field ------------------------------------------------------------------------------

NOT_TEXT = [5, 1.5, True, [], ["x"], {}]
NOT_BOOLEAN = ["false", "true", "", 0, 1, 1.0, [], {}]
BAD_FIELDS = [
    *[("manifest", value) for value in (None, *NOT_TEXT)],
    ("manifest", ""),
    ("manifest", "image: ["),
    ("manifest", "- image"),
    ("manifest", "image: debian/trixie"),
    ("manifest", "shell: true"),
    ("manifest", "image: debian/potato\nshell: true"),
    ("manifest", "image: debian/trixie\narch: s390x\nshell: true"),
    ("manifest", "image: debian/trixie\ntasks: [{Build: make}]"),
    ("manifest", "image: debian/trixie\nshell: true\n" + "#" * 16_384),
    ("manifest", "image: debian/trixie\nshell: true\n#\0"),
    ("manifest", f"image: debian/trixie\nshell: true\n#{LONE_SURROGATE}"),
    *[("note", value) for value in NOT_TEXT],
    ("note", "x" * 4097),
    ("note", "a\0b"),
    ("note", LONE_SURROGATE),
    *[("tags", value) for value in ("a", 5, True, {}, {"a": 1})],
    *[("tags", [value]) for value in (5, None, True, [], {})],
    *[("tags", [value]) for value in ("", "A", "a b", "a/b", "ä", "x" * 129, "a\n", "a\0")],
    ("tags", [LONE_SURROGATE]),
    ("tags", ["x"] * 17),
    *[("execute", value) for value in NOT_BOOLEAN],
    *[("secrets", value) for value in NOT_BOOLEAN],
    *[("visibility", value) for value in (5, True, [], {})],
    *[("visibility", value) for value in ("", "PUBLIC", "everyone", "x" * 5000)],
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_a_bad_field_is_refused_by_name_and_nothing_is_stored(submit, row_counts, field, value):
    before = row_counts()

    response = submit(**{field: value})

    assert response.status_code == 400
    assert fields_of(response) == {field}
    assert row_counts() == before


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä"])
def test_a_bad_idempotency_key_is_refused_by_name(submit, row_counts, key):
    before = row_counts()

    response = submit(headers={"Idempotency-Key": key})

    assert response.status_code == 400
    assert fields_of(response) == {"Idempotency-Key"}
    assert row_counts() == before


def test_a_missing_manifest_is_named(client_of, owner):
    response = client_of(owner).post("/api/jobs", json={"note": "hello"})

    assert response.status_code == 400
    assert response.json == {"errors": [{"field": "manifest", "reason": "is required"}]}


def test_all_problems_are_told_at_once(submit):
    response = submit(
        manifest="image: debian/trixie\ntasks: [{Build: make}, {a: 1}]",
        note=5,
        tags=["A", 5, None],
        execute="no",
        headers={"Idempotency-Key": ""},
    )

    assert [error["field"] for error in response.json["errors"]] == [
        *["manifest"] * 2,
        "note",
        *["tags"] * 2,
        "execute",
        "Idempotency-Key",
    ]


def test_a_problem_of_the_manifest_says_where_it_is(submit):
    response = submit(manifest="image: debian/trixie\ntasks:\n- Build: make\n")

    assert response.json["errors"] == [
        {
            "field": "manifest",
            "reason": "tasks[0]: 'Build' may use a-z, 0-9, _ and - only (line 3, column 3)",
        }
    ]


def test_an_unknown_image_is_answered_with_those_there_are(submit):
    response = submit(manifest="image: debian/potato\nshell: true")

    assert response.json["errors"][0]["reason"] == (
        "image: 'debian/potato' is none of debian, debian/bookworm, debian/oldstable, "
        "debian/stable, debian/trixie (line 1, column 8)"
    )


def test_half_a_million_problems_make_a_short_answer(submit):
    assert len(submit(tags=[5] * 300_000).data) < 10_000


# --- a bad body -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"image: debian/trixie",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"manifest": NaN}',
        b'{"x": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_json_object_is_refused(client_of, owner, body):
    response = client_of(owner).post("/api/jobs", data=body, content_type="application/json")

    assert response.status_code == 400
    assert response.json["errors"][0]["reason"].startswith("the body ")


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "application/json; charset=utf-8", "Application/JSON"],
)
def test_json_is_json_whatever_else_its_type_says(client_of, owner, manifest, content_type):
    body = json.dumps({"manifest": manifest})

    response = client_of(owner).post("/api/jobs", data=body, content_type=content_type)

    assert response.status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/yaml", "json"]
)
def test_another_content_type_is_refused(client_of, owner, manifest, content_type):
    body = json.dumps({"manifest": manifest})

    response = client_of(owner).post("/api/jobs", data=body, content_type=content_type)

    assert response.status_code == 415
    assert response.json["errors"]


def test_a_body_above_the_limit_is_refused(submit, backend, row_counts):
    before = row_counts()

    response = submit(padding="x" * backend.config.limits.request)

    assert response.status_code == 413
    assert response.json["errors"]
    assert row_counts() == before


# --- once, however often it is sent -----------------------------------------------------------

KEY = {"Idempotency-Key": "the-same"}


def test_a_submission_repeated_with_its_key_is_answered_with_the_first_job(submit, row_counts):
    first = submit(headers=KEY)
    after_the_first = row_counts()

    again = submit(headers=KEY)

    assert again.json == first.json
    assert row_counts() == after_the_first


def test_the_repeated_answer_tells_how_the_job_is_now(submit, backend):
    submit(headers=KEY)
    claim(backend, 1, "host-1")

    assert submit(headers=KEY).json["status"] == "running"


@pytest.mark.parametrize(
    "change",
    [
        {"note": "other"},
        {"tags": ["other"]},
        {"execute": False},
        {"secrets": False},
        {"visibility": "private"},
        {"manifest": "image: debian/trixie\nshell: true"},
    ],
)
def test_a_key_used_for_something_else_is_refused(submit, row_counts, change):
    submit(headers=KEY)
    before = row_counts()

    response = submit(headers=KEY, **change)

    assert response.status_code == 400
    assert fields_of(response) == {"Idempotency-Key"}
    assert row_counts() == before


def test_without_a_key_each_submission_is_a_job(submit):
    assert submit().json["id"] != submit().json["id"]


def test_two_users_may_use_the_same_key(client_of, owner, stranger, manifest):
    def submitted_by(user):
        answer = client_of(user).post("/api/jobs", json={"manifest": manifest}, headers=KEY)
        return answer.json["id"]

    assert submitted_by(owner) != submitted_by(stranger)


def test_of_racing_submissions_with_one_key_one_makes_the_job(submit, backend):
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: submit(headers=KEY), range(16)))

    assert [answer.status_code for answer in answers] == [200] * 16
    assert {answer.json["id"] for answer in answers} == {answers[0].json["id"]}
    assert len(backend.redis.keys("rq:job:*")) == 1


# --- while Redis is away ----------------------------------------------------------------------


def test_a_submission_while_redis_is_away_succeeds_and_is_queued_later(
    backend, token, owner, manifest, tmp_path, monkeypatch
):
    nobody = open_redis(f"unix://{tmp_path}/nobody.sock")
    cut_off = create_app(replace(backend, queue=job_queue(nobody, job_timeout=60)))
    response = cut_off.test_client().post(
        "/api/jobs",
        json={"manifest": manifest},
        headers={"Authorization": f"Bearer {token(owner)}"},
    )
    assert (response.status_code, response.json["status"]) == (200, "queued")
    assert backend.queue.enqueued_ids() == set()

    monkeypatch.setattr(dispatch, "SETTLE", timedelta(0))
    dispatch.announce_missing(backend)

    assert backend.queue.enqueued_ids() == {1}
