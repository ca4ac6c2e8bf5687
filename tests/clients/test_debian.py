"""What tests of others' clients rely on: a program of Debian's, once it was had."""

import os
from dataclasses import replace

import pytest

from buildsrht import config as settings
from tests.clients.debian import NotToBeHad, program


@pytest.fixture
def config(tmp_path):
    config = settings.load({"VAR": str(tmp_path)})
    return replace(config, images=replace(config.images, mirror=f"file://{tmp_path}/none"))


def test_what_was_had_a_while_ago_is_used_where_the_mirror_is_away(config, tmp_path):
    with pytest.raises(NotToBeHad, match="hut of Debian sid"):
        program(config, "hut", "sid")
    (tmp_path / "clients/hut_1.2-3").mkdir()
    link = tmp_path / "clients/hut-sid"
    link.symlink_to("hut_1.2-3")
    os.utime(link, (0, 0), follow_symlinks=False)
    had = program(config, "hut", "sid")
    assert (had.path, had.version) == (tmp_path / "clients/hut_1.2-3/hut", "1.2-3")
    assert sorted(path.name for path in link.parent.iterdir()) == ["hut-sid", "hut_1.2-3"]
