"""The visitor and their rights: each action requires the permission that the same action needs elsewhere in Airflow."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.tokens import get_signing_key
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends, Request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from highwater.page.problems import Problem

Method = Literal["GET", "POST", "PUT"]

FORM_IS_GOOD_FOR = 12 * 3600
"""Seconds for which a form can be submitted after it was loaded."""


class Visitor:
    """The Airflow user who made the request, and their rights."""

    def __init__(self, user: Any) -> None:
        self._user = user
        self.name: str = user.get_name()
        self._id = str(user.get_id())

    def may(self, method: Method, dags: Collection[str], entity: DagAccessEntity | None = None) -> set[str]:
        """The subset of ``dags`` for which Airflow allows the method."""
        teams = DagModel.get_dag_id_to_team_name_mapping(list(dags))
        return {
            dag_id
            for dag_id in dags
            if get_auth_manager().is_authorized_dag(
                method=method,
                access_entity=entity,
                details=DagDetails(id=dag_id, team_name=teams.get(dag_id)),
                user=self._user,
            )
        }

    def readable(self, dags: Collection[str]) -> set[str]:
        """The DAGs they may read, and with them their datasets."""
        return self.may("GET", dags)

    def runnable(self, dags: Collection[str]) -> set[str]:
        """The DAGs they may run: the right to request a backfill, and to see rows of the data."""
        return self.may("POST", dags, DagAccessEntity.RUN)

    def changeable(self, dags: Collection[str]) -> set[str]:
        """The DAGs whose runs they may change: the right to pause, cancel and acknowledge."""
        return self.may("PUT", dags, DagAccessEntity.RUN)

    def require_run(self, dags: Iterable[str]) -> None:
        """Raise a Problem unless they may run all these DAGs."""
        self._require("create runs", set(dags), self.runnable(set(dags)))

    def require_change(self, dags: Iterable[str]) -> None:
        """Raise a Problem unless they may change runs of all these DAGs."""
        self._require("change runs", set(dags), self.changeable(set(dags)))

    def _require(self, what: str, wanted: set[str], allowed: set[str]) -> None:
        if denied := sorted(wanted - allowed):
            raise Problem(403, f"permission denied: {self.name} may not {what} of {', '.join(denied)} in Airflow")

    def form_token(self) -> str:
        """A token that proves that this page served a form to this user."""
        return _serializer().dumps(self._id)

    def require_own_form(self, request: Request, token: str) -> None:
        """Raise a Problem for a request that another site made the browser send.

        A request with a bearer token does not rely on the browser's cookies, and needs no form.
        """
        if request.headers.get("authorization", "").lower().startswith("bearer "):
            return
        origin = request.headers.get("origin")
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin" or (
            origin is not None and urlsplit(origin).netloc != request.headers.get("host")
        ):
            raise Problem(403, "the request came from a page of another site: nothing was done")
        try:
            owner = _serializer().loads(token, max_age=FORM_IS_GOOD_FOR)
        except BadSignature:
            owner = None
        if owner != self._id:
            raise Problem(403, "the form has expired or belongs to another user: nothing was done; reload the page")


def _visitor(user: GetUserDep) -> Visitor:
    return Visitor(user)


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(get_signing_key("api", "secret_key"), salt="highwater page")


VisitorDep = Annotated[Visitor, Depends(_visitor)]
"""The Airflow user who made the request; a request without one never reaches a route that has this."""
