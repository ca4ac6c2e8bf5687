"""Every key of a manifest and everything that a build is promised to see, in a real guest.

One job uses all of it, and each test looks at what that job found. While it runs, this host is
searched for what it was given in confidence.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select

from buildsrht.backend import Backend
from buildsrht.config import destinations
from buildsrht.hooks import building
from buildsrht.hooks.event import Event, Update
from buildsrht.logs import Logs
from buildsrht.models import Delivery, Forge, JobStatus, Push
from buildsrht.services import hooks, jobs
from buildsrht.services.kept import find_machine
from buildsrht.services.users import ensure_user
from buildsrht.storage import open_storage
from tests.buildsrht.hooks.forge import serving as serving_forge
from tests.conftest import clean
from tests.worker.clear_text import PLACES, Search
from tests.worker.conftest import FIRST_MIRROR, own_addresses, replace_in
from tests.worker.fakes import perform
from tests.worker.keepsakes import Keepsakes, make_keepsakes
from tests.worker.outcome import Outcome, outcome_of
from tests.worker.repositories import git, make_repository, serving
from worker import machines

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

ADDRESS = "somebody@example.org"

# Each task is a login of its own; the scripts write down what they find, and the last one hands it
# out. What may not be in a log goes into a file.
FIRST = r"""
[ -t 1 ] && [ -t 2 ]
echo to-stdout; echo to-stderr >&2
pwd >where
id -un >>where
sudo id -un >>where
stat -c '%a' ~/.tasks/first >where.mode
head -n 1 ~/.tasks/first >where.shebang
sudo groupadd late
sudo usermod -aG late build
printf '%s|' "$TEXT" "$NUMBER" "$VERSION" "$YES" "$EMPTY" "${LIST[1]}" >values
bash -c 'printf %s "$LIST"' >values.array
printf '%s|' "$CI_NAME" "$JOB_ID" "$JOB_URL" >always
uname -m >machine
cat project/README old/README >sources
command -v hello >packages
cat /etc/apt/sources.list.d/* >repositories
"""
SECOND = r"""
id -nG >groups
stat -c '%a %n' .ssh/deploy* .ssh .config/hut/config config/deep/file >modes
readlink .ssh/id_rsa >first-key
sha256sum <.ssh/id_rsa >key.digest
sha256sum <config/deep/file >file.digest
gpg --list-secret-keys --with-colons >pgp 2>/dev/null
cat config/deep/file; base64 config/deep/file; cat .ssh/id_rsa
echo "$OAUTH2_TOKEN"
( set +x; . ~/.buildenv; declare -p OAUTH2_TOKEN | cut -c 1-24 ) >token
cat .config/hut/config >hut
type acurl >acurl
"""
REPORT = r"""
import json, pathlib
names = '''where where.mode where.shebang values values.array always machine sources packages
    repositories groups modes first-key key.digest file.digest pgp token hut acurl'''.split()
print(json.dumps({name: pathlib.Path(name).read_text() for name in names}))
"""
THIRD = f"python3 -c {json.dumps(REPORT)} >report.json\n".replace("\\n", "\n")
LAST = "complete-build\necho not reached\n"
TASKS = {"first": FIRST, "second": SECOND, "third": THIRD, "last": LAST, "_never": "false"}


@dataclass(frozen=True)
class Walk:
    """A job that used everything, and what was seen of it."""

    backend: Backend
    job_id: int
    outcome: Outcome
    found: Mapping[str, str]
    kept: Keepsakes
    search: Search


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Iterator[str]:
    """The address of a git repository with a tag, on this host, over HTTP."""
    path = make_repository(tmp_path_factory.mktemp("git") / "project", {"README": "old\n"})
    git(path, "tag", "v1")
    (path / "README").write_text("new\n")
    git(path, "commit", "-qam", "second")
    with serving(path, own_addresses()[0]) as address:
        yield address


@pytest.fixture(scope="module")
def backend(connected, host_config, tmp_path_factory, repository) -> Backend:
    """The tests' servers with this host's images, for the whole of this file."""
    clean(connected)
    path = tmp_path_factory.mktemp("walk")
    config = replace(connected.config, images=host_config.images, snapshots=host_config.snapshots)
    allowed = destinations(repository.removeprefix("http://").partition("/")[0])
    for section, changes in {
        "network": {"allow": allowed},
        "worker": {"path": path / "work"},
        "storage": {"path": path / "storage"},
        "ssh": {"path": path / "kept"},
    }.items():
        config = replace_in(config, section, **changes)
    storage = open_storage(config.storage)
    logs = Logs(connected.redis, storage, connected.engine)
    return replace(connected, config=config, storage=storage, logs=logs)


@pytest.fixture(scope="module")
def walk(backend, repository, real_machine) -> Walk:
    with backend.transaction() as session:
        owner = ensure_user(session, "owner")
    kept = make_keepsakes(backend, owner)
    said: list[bytes] = []
    real_machine.guest.run(["bash", "-c", FIRST_MIRROR], said.append)
    mirror = b"".join(said).decode().strip()
    manifest = {
        "image": "debian/stable",
        "arch": "amd64",
        "repositories": {"extra": f"{mirror} trixie-backports main"},
        "packages": ["hello"],
        "sources": [repository, f"old::git+{repository}#v1"],
        "environment": {
            "TEXT": 'it\'s "$HOME"',
            "NUMBER": 7,
            "YES": True,
            "EMPTY": None,
            "LIST": ["a", "b c"],
            "CI_NAME": "mine",
            "JOB_ID": "0",
            "OAUTH2_TOKEN": "mine",
        },
        "secrets": [keepsake.named for keepsake in kept.all],
        "oauth": "builds.sr.ht/JOBS:RO builds.sr.ht/LOGS:RO",
        "layers": False,
        "artifacts": ["report.json", "/etc/hostname"],
        "tasks": [{name: script} for name, script in TASKS.items()],
        "triggers": [
            {"action": "email", "condition": "always", "to": ADDRESS},
            {"action": "webhook", "condition": "failure", "url": "https://example.org/"},
            {"action": "webhook", "condition": "success", "url": "https://example.org/hook"},
        ],
        "submitter": {"git.sr.ht": {"enabled": False}},
    }
    # JSON would spell it 1.1.
    text = json.dumps(manifest).replace('"NUMBER": 7', '"NUMBER": 7, "VERSION": 1.10')
    plan = jobs.read_manifest(backend.catalogue, text)
    job = jobs.submit(backend, owner, jobs.Submission(plan))
    with Search(backend, kept.marks) as search:
        perform(backend, job.id, machines.start)
    outcome = outcome_of(backend, job.id)
    assert outcome.status == JobStatus.SUCCESS, outcome
    found = json.loads(outcome.artifacts["report.json"])
    return Walk(backend, job.id, outcome, found, kept, search)


# --- the keys of a manifest -----------------------------------------------------------------------


def test_image_is_found_by_its_alias(walk):
    assert "starting debian/trixie" in walk.outcome.setup_log


def test_arch_is_what_the_machine_is(walk):
    assert walk.found["machine"] == "x86_64\n"


def test_repositories_are_known_before_the_packages_are_installed(walk):
    assert "trixie-backports" in walk.found["repositories"]
    log = walk.outcome.setup_log
    assert log.index("Adding repository extra") < log.index("Installing hello")


def test_packages_are_installed(walk):
    assert walk.found["packages"] == "/usr/bin/hello\n"


def test_layers_can_be_refused(walk):
    assert "the layer" not in walk.outcome.setup_log


def test_sources_are_cloned_at_the_ref_asked_for_into_the_directory_asked_for(walk):
    assert walk.found["sources"] == "new\nold\n"


def test_environment_is_what_was_written_and_a_list_is_an_array_for_the_task_alone(walk):
    assert walk.found["values"] == 'it\'s "$HOME"|7|1.10|true||b c|'
    assert walk.found["values.array"] == ""


def test_secrets_are_where_their_kind_says_and_for_their_user_only(walk):
    modes = dict(reversed(line.split(" ", 1)) for line in walk.found["modes"].splitlines())
    assert modes[".ssh"] == "700"
    assert modes[f".ssh/{walk.kept.ssh_key.named}"] == "600"
    assert modes["config/deep/file"] == "640"
    assert walk.found["first-key"].strip().endswith(walk.kept.ssh_key.named)
    assert walk.found["key.digest"].split()[0] == walk.kept.ssh_key.digest
    assert walk.found["file.digest"].split()[0] == walk.kept.file.digest
    assert walk.kept.pgp_key.fingerprint in walk.found["pgp"]


def test_a_secret_of_somebody_else_is_skipped_with_a_warning(walk):
    assert f"secret {walk.kept.strangers.named}: " in walk.outcome.setup_log
    assert "skipped" in walk.outcome.setup_log


def test_oauth_gives_a_token_the_configuration_of_hut_and_a_client(walk):
    assert walk.found["token"] == "declare -x OAUTH2_TOKEN="[:24] + "\n"
    modes = dict(reversed(line.split(" ", 1)) for line in walk.found["modes"].splitlines())
    assert modes[".config/hut/config"] == "600"
    assert "access-token" in walk.found["hut"]
    assert "acurl is a function" in walk.found["acurl"]


def test_artifacts_are_kept_from_the_home_directory_and_from_anywhere(walk):
    assert set(walk.outcome.artifacts) == {"report.json", "hostname"}


def test_tasks_run_one_by_one_and_the_rest_is_skipped_when_one_completes_the_build(walk):
    assert walk.outcome.tasks == {
        **dict.fromkeys(["first", "second", "third", "last"], "success"),
        "_never": "skipped",
    }
    assert "\nnot reached" not in walk.outcome.logs["last"]


def test_triggers_whose_condition_holds_are_to_be_delivered(walk):
    with walk.backend.transaction() as session:
        rows = session.scalars(
            select(Delivery).where(Delivery.job_id == walk.job_id).order_by(Delivery.position)
        ).all()
    assert [(row.trigger["action"], row.trigger["condition"]) for row in rows] == [
        ("email", "always"),
        ("webhook", "success"),
    ]


# --- what a build sees ----------------------------------------------------------------------------


def test_it_is_the_user_build_at_home_who_may_be_root(walk):
    assert walk.found["where"] == "/home/build\nbuild\nroot\n"


def test_each_task_is_kept_as_a_script_that_runs_by_itself(walk):
    assert walk.found["where.mode"] == "755\n"
    assert walk.found["where.shebang"].startswith("#!")


def test_its_output_is_a_terminal_and_one_stream(walk):
    log = walk.outcome.logs["first"]
    assert log.index("\nto-stdout\n") < log.index("\nto-stderr\n")
    assert "+ echo to-stdout\n" in log, "each command is shown"


def test_each_task_is_a_login_of_its_own_so_that_new_groups_count(walk):
    assert "late" in walk.found["groups"].split()


def test_what_is_always_set_wins_over_the_manifest(walk):
    origin = walk.backend.config.web.origin
    expected = f"sourcehut|{walk.job_id}|{origin}/~owner/job/{walk.job_id}|"
    assert walk.found["always"] == expected


def test_it_all_comes_in_the_order_that_was_promised(walk):
    log = walk.outcome.setup_log
    steps = ["secret", "Adding repository", "Installing", "Cloning", "Running task", "Kept"]
    places = [log.lower().index(step.lower()) for step in steps]
    assert places == sorted(places)


# --- what nobody may see --------------------------------------------------------------------------


def test_its_logs_show_stars_in_place_of_what_was_given_in_confidence(walk):
    assert "***" in walk.outcome.logs["second"]
    assert [mark for mark in walk.kept.marks if mark.decode() in walk.outcome.logs["second"]] == []


@pytest.mark.parametrize("place", PLACES)
def test_what_was_given_in_confidence_is_nowhere_in_clear(walk, place):
    assert walk.search.was_not_blind(place), f"the search of {place} found nothing that is there"
    assert walk.search.found(place) == []


# --- other jobs -----------------------------------------------------------------------------------


def test_the_first_task_that_fails_fails_the_job_and_leaves_the_rest_pending(backend, walk):
    with backend.transaction() as session:
        owner = ensure_user(session, "owner")
    text = "image: debian/trixie\ntasks: [{good: 'true'}, {bad: exit 3}, {never: 'true'}]\n"
    plan = jobs.read_manifest(backend.catalogue, text)
    job = jobs.submit(backend, owner, jobs.Submission(plan))
    perform(backend, job.id, machines.start)
    outcome = outcome_of(backend, job.id)
    assert outcome.status == JobStatus.FAILED
    assert outcome.tasks == {"good": "success", "bad": "failed", "never": "pending"}


def test_shell_keeps_the_machine_of_a_job_without_tasks(backend, walk):
    with backend.transaction() as session:
        owner = ensure_user(session, "owner")
    plan = jobs.read_manifest(backend.catalogue, "image: debian/trixie\nshell: true\n")
    job = jobs.submit(backend, owner, jobs.Submission(plan))
    perform(backend, job.id, machines.start)
    assert outcome_of(backend, job.id).status == JobStatus.SUCCESS
    kept = find_machine(backend, job.id)
    assert kept
    assert kept.ended is None


TOLD = r"""
image: debian/trixie
tasks:
- told: |
    set +x
    commit=$(git -C hello rev-parse HEAD)
    printf "%s|" "$BUILD_SUBMITTER" "$BUILD_REASON" "$GIT_REF" "$commit"
"""


def test_a_build_of_a_push_knows_who_submitted_it_and_why(backend, walk, tmp_path):
    with serving_forge(tmp_path / "forge", own_addresses()[0]) as forge:
        forge.make()
        there = destinations(f"{forge.host}:{forge.port}")
        config = replace_in(backend.config, "courier", allow=there)
        config = replace_in(config, "network", allow=there)
        backend = replace(backend, config=replace(config, var=tmp_path))
        new = hooks.NewHook(forge=Forge.GITHUB, repository=forge.url)
        hook, _ = hooks.create_hook(backend, "owner", new)
        commit = forge.push({".build.yml": TOLD})
        event = Event((Update("refs/heads/main", commit),))
        push = hooks.receive(backend, hook, "report", event.as_json())
        building.perform(backend, push.id)
        with backend.transaction() as session:
            [job_id] = session.get_one(Push, push.id).job_ids
        perform(backend, job_id, machines.start)
    outcome = outcome_of(backend, job_id)
    told = f"github|github-commit|refs/heads/main|{commit}|"
    assert outcome.logs["told"].splitlines()[-1].endswith(told), outcome
