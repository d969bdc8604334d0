"""Rows of the SQLite store as records, and the columns they are made of."""

from __future__ import annotations

import json
from typing import Any

from policy_service.domain.changelog import Lineage
from policy_service.domain.changes import ChangeImage, Key, LogEntry, Position
from policy_service.domain.encoding import (
    group_from_json,
    member_from_json,
    model_from_json,
    parse_time,
    team_from_json,
)
from policy_service.domain.records import AccessGroup, Kind, Member, Model, Team

POSITION = """SELECT epoch.value, coalesce(log.revision, CAST(revision.value AS INTEGER)),
        coalesce(log.hash, hash.value), coalesce(log.digest, digest.value)
    FROM meta epoch JOIN meta revision JOIN meta hash JOIN meta digest
        LEFT JOIN log ON log.revision = (SELECT max(revision) FROM log)
    WHERE epoch.name = 'epoch' AND revision.name = 'anchor_revision'
        AND hash.name = 'anchor_hash' AND digest.name = 'anchor_digest'"""
# A database that was not migrated yet has no ancestors.
LINEAGE = f"""SELECT found.*, coalesce((SELECT value FROM meta WHERE name = 'ancestors'), '[]')
    FROM ({POSITION}) AS found"""
MEMBER_COLUMNS = (
    'SELECT team, "user", policies.body, profile FROM members JOIN policies ON policies.policy = members.policy'
)
LOG_COLUMNS = (
    "log.revision, log.epoch, log.time, log.actor, log.peer, log.rpc, log.format, log.digest, log.previous_hash, "
    "log.hash, log.change_count"
)


def position_of(row: Any) -> Position:
    return Position(*row)


def lineage_of(row: Any) -> Lineage:
    return Lineage(position_of(row[:4]), tuple(json.loads(row[4])))


def team_of(row: Any) -> Team:
    return team_from_json(json.loads(row[0]), member_count=row[1])


def member_of(row: Any) -> Member:
    team, user, policy, profile = row
    return member_from_json({"team": team, "user": user} | json.loads(policy) | json.loads(profile))


def group_of(row: Any) -> AccessGroup:
    return group_from_json(json.loads(row[0]))


def model_of(row: Any) -> Model:
    return model_from_json(json.loads(row[0]))


def log_entry_of(row: Any) -> LogEntry:
    fields = dict(zip((name.removeprefix("log.") for name in LOG_COLUMNS.split(", ")), row, strict=True))
    return LogEntry(**fields | {"time": parse_time(fields["time"])})


def image_of(row: Any) -> ChangeImage:
    kind, team, name, before, after = row
    return ChangeImage(Key(Kind(kind), team, name), before, after)
