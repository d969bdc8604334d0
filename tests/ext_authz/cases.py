"""HTTP requests to LLM APIs, with the models that have to be found in them, or why they have to be refused. The same
table is asked of the service in its own process and sent through a real Envoy.

PROVIDER_CASES are requests as the APIs' clients send them, at least one for every method and path of the default table.
TRICK_CASES are those with which somebody could try to use another model than the one that is checked, and a few that
look odd and are well. The configuration needs STORED_MODELS as `stored_models`, the default `model_headers`, and the
default table.
"""

from __future__ import annotations

from tests.ext_authz.cases_http import HTTP_CASES
from tests.ext_authz.cases_json import JSON_CASES
from tests.ext_authz.cases_multipart import MULTIPART_CASES
from tests.ext_authz.cases_providers import PROVIDER_CASES, STORED_MODELS
from tests.ext_authz.cases_shape import Case

TRICK_CASES: tuple[Case, ...] = (*JSON_CASES, *MULTIPART_CASES, *HTTP_CASES)

__all__ = ["PROVIDER_CASES", "STORED_MODELS", "TRICK_CASES", "Case"]
