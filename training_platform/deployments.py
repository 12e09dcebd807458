"""Where published versions serve, as subscribers report it: the way back from deployment to training."""

import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from mesh.files import write_atomically
from training_platform.layout import OURS, read_json
from training_platform.manifest import Key, key_of
from waypost.api.training.v1 import training_pb2

DEPLOYMENTS = "deployments.json"


class Deployments:
    """The last report of each subscriber, kept in a file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / OURS / DEPLOYMENTS
        self._reports: dict[str, Any] = read_json(self._path)

    def report(self, subscriber: str, request: training_pb2.ReportDeploymentRequest) -> None:
        """Replaces what the subscriber reported before. Raises: OSError."""
        report = json_format.MessageToDict(request)
        report["subscriber"] = subscriber
        if self._reports.get(subscriber) != report:
            reports = {**self._reports, subscriber: report}
            write_atomically(self._path, json.dumps(reports, indent=1).encode())
            self._reports = reports

    def positions(self) -> dict[Key, set[str]]:
        """Positions by the version that they serve, whoever reported them."""
        found: dict[Key, set[str]] = {}
        for report in self._reports.values():
            request = json_format.ParseDict(report, training_pb2.ReportDeploymentRequest())
            for deployed in request.versions:
                found.setdefault(key_of(deployed.version), set()).update(deployed.positions)
        return found
