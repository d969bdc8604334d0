"""The feed's types as protobuf messages and back. Reading checks what a header read from anywhere else is checked for:
it raises Malformed and UnknownFormat."""

from __future__ import annotations

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Head, Manifest
from policy_service.v1 import replication_pb2 as pb


def head_message(head: Head) -> pb.Head:
    epoch, revision, hash_, digest = head.position
    return pb.Head(
        epoch=epoch,
        revision=revision,
        hash=hash_,
        digest=digest,
        ancestors=head.ancestors,
        format=head.format,
        publisher=head.publisher,
        tick_ms=head.tick_ms,
        signature=head.signature,
    )


def head_of(message: pb.Head) -> Head:
    head = Head(
        position=_position(message),
        ancestors=tuple(message.ancestors),
        publisher=message.publisher,
        tick_ms=message.tick_ms,
        format=message.format,
    )
    return Head.read(head.header, message.signature)


def part_message(part: ChangePart) -> pb.ChangeSetPart:
    epoch, revision, hash_, digest = part.position
    return pb.ChangeSetPart(
        epoch=epoch,
        revision=revision,
        hash=hash_,
        digest=digest,
        previous_hash=part.previous_hash,
        part=part.part,
        last=part.last,
        format=part.format,
        payload=part.payload,
        signature=part.signature,
    )


def part_of(message: pb.ChangeSetPart) -> ChangePart:
    part = ChangePart(
        position=_position(message),
        previous_hash=message.previous_hash,
        part=message.part,
        last=message.last,
        format=message.format,
        payload=message.payload,
    )
    return ChangePart.read(part.header, message.payload, message.signature)


def manifest_message(manifest: Manifest) -> pb.SnapshotManifest:
    epoch, revision, hash_, digest = manifest.position
    return pb.SnapshotManifest(
        epoch=epoch,
        revision=revision,
        hash=hash_,
        digest=digest,
        ancestors=manifest.ancestors,
        checksums=manifest.checksums,
        format=manifest.format,
        signature=manifest.signature,
    )


def manifest_of(message: pb.SnapshotManifest) -> Manifest:
    manifest = Manifest(
        position=_position(message),
        ancestors=tuple(message.ancestors),
        checksums=tuple(message.checksums),
        format=message.format,
    )
    return Manifest.read(manifest.header, message.signature)


def _position(message: pb.Head | pb.ChangeSetPart | pb.SnapshotManifest) -> Position:
    return Position(message.epoch, message.revision, message.hash, message.digest)
