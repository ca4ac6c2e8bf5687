"""Images are built aside, become current in one step, and are rebuilt when their recipe changes.

With a recipe of a few lines in place of a distribution; tests/worker/test_vm.py boots real ones.
"""

import subprocess
import sys
import threading

import pytest

from buildsrht import catalogue
from buildsrht.services import jobs
from tests.build_host import claim
from tests.worker.conftest import replace_in
from worker import images, qemu
from worker.errors import ImageMissing, RunnerError
from worker.machines import find_platform

RECIPE = """#!/bin/sh
echo built >>"$LOG"
for file in disk.raw kernel initrd; do echo "$RELEASE $ARCH" >"$OUT/$file"; done
echo " root=/dev/vda " >"$OUT/cmdline"
"""


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    path = tmp_path / "recipes"
    release = path / "tiny" / "one"
    release.mkdir(parents=True)
    (release / "image.yml").write_text("{aliases: [tiny], arches: [amd64, arm64]}")
    (path / "agent.py").write_text("# the agent\n")
    write_recipe(path, RECIPE)
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return path


def write_recipe(recipes, text):
    script = recipes / "tiny" / "build"
    script.write_text(text)
    script.chmod(0o755)


@pytest.fixture
def config(recipes, tmp_path):
    from buildsrht import config as settings

    loaded = settings.load({"VAR": str(tmp_path / "var")})
    return replace_in(loaded, "images", recipes=recipes, path=tmp_path / "images")


@pytest.fixture
def image(recipes):
    return catalogue.load(recipes).find("tiny")


def builds(tmp_path) -> int:
    log = tmp_path / "log"
    return log.read_text().count("built") if log.exists() else 0


def test_a_built_image_is_found_by_its_name_and_processor(config, image):
    built = images.build(config, image, "arm64")
    assert images.require_built(config, "tiny/one", "arm64") == built
    assert built.kernel.read_text() == "one arm64\n"
    assert built.cmdline == "root=/dev/vda"


def test_one_that_is_not_built_is_missing_and_the_error_says_the_remedy(config):
    with pytest.raises(ImageMissing, match="buildsrht image build tiny/one"):
        images.require_built(config, "tiny/one", "amd64")


def test_a_fresh_image_is_not_built_again(config, image, tmp_path):
    assert images.build(config, image, "amd64") == images.build(config, image, "amd64")
    assert builds(tmp_path) == 1


@pytest.mark.parametrize(
    "changed", ["tiny/build", "tiny/files/etc/motd", "tiny/one/local", "agent.py"]
)
def test_a_change_of_what_it_is_made_from_makes_it_stale(config, image, recipes, changed):
    before = images.build(config, image, "amd64")
    (recipes / changed).parent.mkdir(parents=True, exist_ok=True)
    with (recipes / changed).open("a") as file:
        file.write("\n# changed\n")
    assert not images.is_fresh(config, image, "amd64")
    assert images.build(config, image, "amd64").directory != before.directory


def test_another_alias_makes_nothing_stale(config, image, recipes):
    images.build(config, image, "amd64")
    (recipes / "tiny/one/image.yml").write_text("{aliases: [small], arches: [amd64, arm64]}")
    assert images.is_fresh(config, catalogue.load(recipes).find("small"), "amd64")


def test_a_refresh_builds_a_fresh_image_anew(config, image, tmp_path):
    before = images.build(config, image, "amd64")
    assert images.build(config, image, "amd64", refresh=True) != before
    assert images.is_fresh(config, image, "amd64")
    assert builds(tmp_path) == 2


def test_the_previous_image_outlives_one_build_for_machines_that_are_starting(
    config, image, recipes
):
    built = []
    for n in range(3):
        write_recipe(recipes, f"{RECIPE}# {n}\n")
        built.append(images.build(config, image, "amd64").directory)
    assert [directory.exists() for directory in built] == [False, True, True]


def test_a_recipe_that_fails_leaves_the_image_that_was_current_and_no_rubbish(
    config, image, recipes
):
    before = images.build(config, image, "amd64")
    write_recipe(recipes, "#!/bin/sh\necho half >$OUT/disk.raw; exit 3\n")
    with pytest.raises(RunnerError, match="exit status 3"):
        images.build(config, image, "amd64")
    assert images.require_built(config, "tiny/one", "amd64") == before
    assert list(before.directory.parent.glob("building-*")) == []


@pytest.mark.parametrize(
    ("made", "missing"),
    [
        ("kernel cmdline", "no disk.raw"),
        ("disk.raw kernel initrd", "no cmdline"),
        ("", "no disk.raw"),
    ],
)
def test_a_recipe_that_succeeds_without_making_an_image_has_failed(
    config, image, recipes, made, missing
):
    write_recipe(recipes, f"#!/bin/sh\nfor file in {made}; do echo >$OUT/$file; done\n")
    with pytest.raises(RunnerError, match=f"the recipe of tiny/one made {missing}"):
        images.build(config, image, "amd64")
    assert images.find_built(config, "tiny/one", "amd64") is None


def test_a_disk_alone_is_an_image_that_its_machine_s_firmware_boots(config, image, recipes):
    write_recipe(recipes, "#!/bin/sh\necho >$OUT/disk.raw\n")
    built = images.build(config, image, "amd64")
    assert (built.kernel, built.initrd, built.cmdline) == (None, None, "")


def test_what_a_killed_build_left_behind_is_removed_by_the_next(config, image):
    rubbish = config.images.path / "tiny/one/amd64/building-x"
    rubbish.mkdir(parents=True)
    images.build(config, image, "amd64")
    assert not rubbish.exists()


def test_two_that_want_the_same_image_build_it_once(config, image, tmp_path):
    threads = [
        threading.Thread(target=images.build, args=(config, image, "amd64")) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builds(tmp_path) == 1


# --- the command line -----------------------------------------------------------------------------


def command(config_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "worker", "image", *arguments],
        env={"PATH": "/usr/bin:/bin", "BUILDSRHT_CONFIG": str(config_path)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def config_path(recipes, tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(f"[images]\nrecipes = {recipes}\npath = {tmp_path}/images\n")
    return path


def test_the_list_says_which_images_are_built(config, config_path, image):
    images.build(config, image, "amd64")
    assert command(config_path, "list").stdout == (
        "tiny/one\tamd64\tbuilt\ttiny\ntiny/one\tarm64\tnot built\ttiny\n"
    )


def test_an_unknown_image_is_refused_with_those_there_are(config_path):
    refused = command(config_path, "build", "nothing/here")
    assert refused.returncode == 2
    assert "'nothing/here' is none of tiny, tiny/one" in refused.stderr


def test_a_fresh_image_is_left_as_it_is(config, config_path, image):
    images.build(config, image, "amd64")
    said = command(config_path, "build", "tiny").stdout
    assert said.startswith("tiny/one (amd64) is up to date.\n")


def test_an_image_that_cannot_be_saved_is_built_all_the_same_and_it_is_said(
    config, config_path, image
):
    said = command(config_path, "build", "tiny")
    assert said.returncode == 0, said.stderr
    assert "No snapshot of tiny/one could be made" in said.stdout
    assert images.find_built(config, "tiny/one", "amd64")


# --- an operator's own recipe ---------------------------------------------------------------------


OWN_RECIPE = """#!/bin/sh
set -eu
. "$(dirname "$0")/files/names"
truncate -s "$DISK_BYTES" "$OUT/disk.raw"
echo "$distribution $RELEASE for $ARCH" >"$OUT/kernel"
cp "$AGENT" "$OUT/initrd"
echo console=ttyAMA0 >"$OUT/cmdline"
"""


@pytest.fixture
def own_config(tmp_path):
    """A host whose operator wrote a recipe in shell, for processors in his distribution's words."""
    recipes = tmp_path / "own"
    write(recipes / "agent.py", "# the agent\n")
    write(recipes / "alpine/build", OWN_RECIPE).chmod(0o755)
    write(recipes / "alpine/files/names", "distribution=Alpine\n")
    write(recipes / "alpine/edge/image.yml", "aliases: [alpine]\narches: [x86_64, aarch64]\n")
    return write(
        tmp_path / "config.ini",
        f"[images]\nrecipes = {recipes}\npath = {tmp_path}/images\ndisk = 1MiB\n"
        "[worker]\naccelerator = tcg\n[snapshots]\nenabled = no\n",
    )


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_recipe_of_the_operator_s_own_is_found_built_and_selected_by_a_manifest(
    own_config, backend, owner
):
    from buildsrht import config as settings

    config = settings.load({"BUILDSRHT_CONFIG": str(own_config)})
    said = command(own_config, "build", "alpine", "--arch", "aarch64")
    assert said.returncode == 0, said.stderr
    assert command(own_config, "list").stdout == (
        "alpine/edge\tx86_64\tnot built\talpine\nalpine/edge\taarch64\tbuilt\talpine\n"
    )

    text = "image: alpine\narch: aarch64\ntasks:\n- build: make\n"
    plan = jobs.read_manifest(catalogue.load(config.images.recipes), text)
    run = claim(backend, jobs.submit(backend, owner, jobs.Submission(plan)).id, "host-1")

    platform = find_platform(config, run.image, run.arch)
    assert platform.image.kernel.read_text() == "Alpine edge for aarch64\n"
    assert platform.image.disk.stat().st_size == 2**20
    parts = qemu.Parts("", 0, None, platform.image.cmdline, [0], 0, 0, 0, 0)
    assert qemu.command(run.arch, platform.hardware, parts)[0] == "qemu-system-aarch64"
