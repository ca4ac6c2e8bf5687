"""The build host's commands; `buildsrht worker`, `janitor`, `gateway` and `image` become these."""

import json
import logging
import os
import signal
import sys
import threading
from contextlib import closing

import click
from redis import Redis
from redis.exceptions import RedisError

from buildsrht import config as settings
from buildsrht import database, journal, storage
from buildsrht.backend import Backend, open_backend, open_redis
from buildsrht.catalogue import Catalogue, Image, load
from buildsrht.config import Config
from buildsrht.errors import BuildsError, OperatorError
from worker import cgroups, images, janitor, memory, templates
from worker.machines import find_platform
from worker.platforms import Platform

log = logging.getLogger(__name__)


@click.group()
def main() -> None:
    """What runs on a build host."""
    # Where Debian keeps nft and mke2fs; an ordinary user's PATH does not look there.
    os.environ["PATH"] += ":/usr/sbin:/sbin"


@main.command()
@click.option("--count", type=click.IntRange(1), help="How many jobs to run at once.")
def worker(count: int | None) -> None:
    """Take jobs from the queue and run each in a virtual machine."""
    from worker.pool import run_pool

    config = _begin("worker")
    database.require_current(config)
    storage.require_usable(config.storage)
    redis = _ready_redis(config)
    cgroups.prepare()
    if reason := cgroups.explain():
        log.warning("%s", reason)
    run_pool(redis, count or config.worker.count or memory.slots(config))


@main.command(hidden=True)
def stock() -> None:
    """Keep machines ready for jobs; `worker` starts this."""
    from worker.stock import keep_stock

    keep_stock(_begin("worker"))


@main.command(hidden=True)
@click.argument("job_id", type=click.IntRange(1))
def keeper(job_id: int) -> None:
    """Have the kept machine of a job run while somebody looks into it; `gateway` starts this."""
    from worker.kept.keeper import keep

    config = _begin("gateway")
    cgroups.prepare()
    with closing(open_backend(config)) as backend, journal.about(**journal.of_job(job_id)):
        keep(backend, job_id)


@main.command("janitor")
@click.option("--once", is_flag=True, help="Look once at this host, and end.")
def run_janitor(once: bool) -> None:
    """Clear away what crashes left behind; run one on every build host."""
    config = _begin("janitor")
    database.require_current(config)
    storage.require_usable(config.storage)
    _ready_redis(config)
    with closing(open_backend(config)) as backend:
        if once:
            janitor.sweep_host(backend)
            janitor.report(backend)
        else:
            _sweep_until_stopped(backend)


def _sweep_until_stopped(backend: Backend) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    janitor.keep_sweeping(backend, stop)


@main.command()
def gateway() -> None:
    """Let users into the kept machines of this host by ssh."""
    from worker.gateway.server import run
    from worker.kept.visits import close_all, open_machine

    config = _begin("gateway")
    database.require_current(config)
    storage.require_usable(config.storage)
    with closing(open_backend(config)) as backend:
        run(backend, open_machine)
    # Whoever stops us may end all that we started, and with it what was done since they were woken.
    close_all(config)


@main.command(hidden=True)
def check() -> None:
    """Print what was found of this host, a line of JSON each; `buildsrht check` starts this."""
    from worker import checks

    for finding in checks.check(settings.load()):
        click.echo(json.dumps(finding))


def _begin(part: str) -> Config:
    config = settings.load()
    journal.begin(config, part)
    return config


def _ready_redis(config: Config) -> Redis:
    redis = open_redis(config.redis.url)
    try:
        redis.ping()
    except RedisError as error:
        raise OperatorError(f"[redis] url: {error}") from error
    return redis


@main.group()
def image() -> None:
    """Build and list images."""


@image.command()
@click.argument("name")
@click.option("--arch", help="Processor; the image's first one if not given.")
@click.option("--refresh", is_flag=True, help="Build it anew from the packages of today.")
def build(name: str, arch: str | None, refresh: bool) -> None:
    """Build an image, unless the one that is here is what its recipe says."""
    config = _begin("worker")
    wanted = _require_image(load(config.images.recipes), name)
    arch = arch or wanted.default_arch
    if arch not in wanted.arches:
        raise click.BadParameter(f"{wanted.name} is built for {', '.join(wanted.arches)}")
    if images.is_fresh(config, wanted, arch) and not refresh:
        click.echo(f"{wanted.name} ({arch}) is up to date.")
    else:
        click.echo(f"Building {wanted.name} ({arch}); this takes about a minute.")
        built = images.build(config, wanted, arch, refresh=refresh)
        click.echo(f"Built {built.directory}.")
    _make_ready(find_platform(config, wanted.name, arch))


def _make_ready(platform: Platform) -> None:
    """Do now what the first job would have to wait for."""
    click.echo(f"{platform.image.name} will run on {platform.hardware.accelerator}.")
    if platform.config.snapshots.enabled:
        templates.require(platform, click.echo)


@image.command("list")
def list_images() -> None:
    """List every image, its aliases and whether it is built here."""
    config = settings.load()
    for known in load(config.images.recipes).images:
        for arch in known.arches:
            click.echo(
                f"{known.name}\t{arch}\t{_state(config, known, arch)}\t{' '.join(known.aliases)}"
            )


def _state(config: Config, known: Image, arch: str) -> str:
    if images.is_fresh(config, known, arch):
        return "built"
    return "outdated" if images.find_built(config, known.name, arch) else "not built"


def _require_image(catalogue: Catalogue, name: str) -> Image:
    found = catalogue.find(name)
    if found is None:
        raise click.BadParameter(f"{name!r} is none of {', '.join(catalogue.names)}")
    return found


if __name__ == "__main__":
    try:
        main(prog_name="buildsrht")
    except BuildsError as error:
        sys.exit(f"buildsrht: {error}")
