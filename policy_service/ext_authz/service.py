"""`Authorization/Check`: may this HTTP request go on? Every way through here ends in an answer, and none of them lets a
request pass by accident."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from policy_service.domain.source import PolicySource
from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.errors import Unavailable
from policy_service.ext_authz.answer import Allowed, Denied, answer
from policy_service.ext_authz.asked import Asked, read_asked
from policy_service.ext_authz.bodies import Api, Kind
from policy_service.ext_authz.http_request import HttpRequest, read_http
from policy_service.ext_authz.identity import Identity
from policy_service.ext_authz.refusal import Code, Refused
from policy_service.ext_authz.routes import Access, Matched
from policy_service.ext_authz.settings import Settings
from policy_service.ext_authz.target import Target, read_target
from policy_service.ext_authz.verdict import ROUTE_ALLOWED, Dossier, judge
from policy_service.services.caller import Caller
from policy_service.services.unary import MAX_MESSAGE_BYTES

LARGE_BODY_BYTES = 128 * 1024  # of the worst kind it takes about 70 ms to read, of text 0.4
HEAD_BYTES = 1024 * 1024  # that a CheckRequest may have besides the body
MAX_LARGE_BODIES = 16  # at once; one more would get its answer too late
MAX_LARGE_BODIES_OF_ONE = 4  # of one caller, who could keep all others waiting
MAX_MODELS_SHOWN = 20
TOO_MANY_REQUESTS = 429

log = logging.getLogger(__name__)


class AuthorizationService:
    """Takes and returns messages; raises nothing."""

    def __init__(self, source: PolicySource, settings: Settings) -> None:
        self._source, self._settings = source, settings
        # The loop must not stand still while somebody's megabytes are read. More threads would not be faster.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
        self._large_bodies: Counter[Identity | None] = Counter()

    @property
    def max_message_bytes(self) -> int:
        """What a server has to accept: for a larger message the RPC would fail, and open a gateway that fails open."""
        return max(MAX_MESSAGE_BYTES, self._settings.max_body_bytes + HEAD_BYTES)

    def close(self) -> None:
        """Gives up what waits to be read."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def Check(self, request: pb.CheckRequest, caller: Caller) -> pb.CheckResponse:
        """May the HTTP request go on?"""
        dossier = Dossier(self._settings.denied_status)
        try:
            return answer(await self._outcome(request.attributes, dossier))
        except Exception:  # an error of the RPC would open a gateway that fails open
            log.exception("an HTTP request could not be judged")
            words = "The request could not be judged: a fault of the policy service, whose log has the details."
            fault = Dossier(self._settings.denied_status)
            fault.api = self._api(request.attributes, dossier)
            return answer(fault.deny(Kind.FAULT, Code.INTERNAL, words))

    def answer_to_undecodable(self) -> pb.CheckResponse:
        """For bytes that are no CheckRequest, which a gateway sends when a client's bytes get into its texts."""
        words = "The request has text that is not UTF-8. Send valid text."
        return answer(Dossier(self._settings.denied_status).deny(Kind.REQUEST, Code.MALFORMED_HEADER, words))

    async def _outcome(self, attributes: pb.AttributeContext, dossier: Dossier) -> Allowed | Denied:
        try:
            identity_source = self._settings.identity
            if identity_source is None:
                words = "the policy service has no way to find out who asks; configure it with --ext-authz-config"
                raise Refused(Code.NOT_CONFIGURED, words)
            http = read_http(attributes.request.http, self._settings.max_body_bytes)
            dossier.headers = http.headers
            target = read_target(http.path)
            matched = self._match(http, target)
            dossier.route, dossier.api = matched.route, matched.route.api
            dossier.facts["route"] = matched.route.name
            if matched.route.access is Access.DENIED:
                raise Refused(Code.ROUTE_DENIED, matched.route.because or "requests of this kind are not let through")
            if matched.route.access is Access.ALLOWED:
                await self._asked(http, target, matched, None)
                return dossier.allow(ROUTE_ALLOWED, {})
            identity = identity_source.read(attributes, http.headers)
            dossier.facts |= {"team": identity.team} | ({"user": identity.user} if identity.user else {})
            asked = await self._asked(http, target, matched, identity)
            if asked.models:
                dossier.facts["models"] = asked.models[:MAX_MODELS_SHOWN]
            return judge(self._source.read(), identity, asked, dossier)
        except Refused as refused:
            dossier.api = self._api(attributes, dossier)
            return self._refused(refused, dossier)
        except Unavailable as error:
            return dossier.deny(Kind.NO_ANSWER, "service_unavailable", f"{error}; try again in a moment.")

    def _api(self, attributes: pb.AttributeContext, dossier: Dossier) -> Api:
        """Whose errors the client understands, also when the request was refused before its route was found."""
        return dossier.route.api if dossier.route.name else self._settings.table.api_of(attributes.request.http.path)

    def _match(self, http: HttpRequest, target: Target) -> Matched:
        table = self._settings.table
        upgrade = "upgrade" in http.headers
        matched = table.find(http.method, upgrade, target.path)
        other_protocol = upgrade and http.headers["upgrade"].lower() != "websocket"
        if other_protocol or (matched is None and table.find(http.method, not upgrade, target.path)):
            words = "requests of this kind are " + ("no WebSocket" if upgrade else "WebSockets only")
            raise Refused(Code.WRONG_UPGRADE, words)
        if matched is None and "%" in target.path:
            raise Refused(Code.MALFORMED_PATH, "the path is percent-encoded where no model is; write it plainly")
        if matched is None:
            words = (
                f"{http.method} {target.path[:256]} is not known here; check the path, or have it added to the routes"
            )
            raise Refused(Code.UNKNOWN_ROUTE, words)
        return matched

    async def _asked(self, http: HttpRequest, target: Target, matched: Matched, identity: Identity | None) -> Asked:
        vocabulary, waiting = self._settings.vocabulary, self._large_bodies
        if len(http.body) <= LARGE_BODY_BYTES:
            return read_asked(http, target, matched, vocabulary)
        if waiting[identity] >= MAX_LARGE_BODIES_OF_ONE:
            words = f"you have sent more than {MAX_LARGE_BODIES_OF_ONE} large requests at once; wait for their answers"
            raise Refused(Code.TOO_MANY_LARGE_BODIES, words)
        if waiting.total() >= MAX_LARGE_BODIES:
            raise Unavailable("too many large requests at once")
        waiting[identity] += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._reader, read_asked, http, target, matched, vocabulary)
        finally:
            waiting[identity] -= 1
            if not waiting[identity]:
                del waiting[identity]

    def _refused(self, refused: Refused, dossier: Dossier) -> Denied:
        words = f"{refused}."
        words = words[0].upper() + words[1:]
        if refused.code is Code.NO_IDENTITY:
            status = self._settings.no_identity_status
            return dossier.deny(Kind.IDENTITY, refused.code, words, status=status)
        status = TOO_MANY_REQUESTS if refused.code is Code.TOO_MANY_LARGE_BODIES else 0
        return dossier.deny(Kind.REQUEST, refused.code, words, status=status)
