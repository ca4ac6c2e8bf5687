"""The command that delivers emails and webhooks, and builds what forges report."""

import logging

import click

log = logging.getLogger(__name__)


@click.command()
@click.option("--count", type=click.IntRange(1), help="How many to deal with at once.")
def courier(count: int | None) -> None:
    """Deliver emails and webhooks, and build what forges report."""
    from redis.exceptions import RedisError

    from buildsrht import config, database, journal
    from buildsrht.backend import open_redis
    from buildsrht.courier.pool import run_pool
    from buildsrht.errors import OperatorError
    from buildsrht.keys import Keys

    settings = config.load()
    journal.begin(settings, "courier")
    database.require_current(settings)
    # Here a key that is missing is one sentence, in each delivery it would be a failure.
    log.info("webhooks are signed by the key %s", Keys(settings.keys.path).public_key)
    redis = open_redis(settings.redis.url)
    try:
        redis.ping()
    except RedisError as error:
        raise OperatorError(f"[redis] url: {error}") from error
    run_pool(redis, count or settings.courier.count)


COMMANDS = (courier,)
