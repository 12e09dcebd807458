"""The reference training platform: a directory of models, served over `training.v1`.

    DIR/<application>/application.json                      description; may be missing
    DIR/<application>/<model>/model.json                    description; may be missing
    DIR/<application>/<model>/<version>/manifest.json       a PublishedVersion as ProtoJSON, beside the files it names
    DIR/.waypost/                                           ours: log, tokens, deployment reports

`publish` puts a version there in one rename. `serve` looks at the directory several times a second, compares what it
sees with what its log says it has told, and appends the difference to the log, numbered; subscribers follow the log.
So nothing is lost by a kill at any moment: what was not logged is seen again, what was logged is told again.

    layout (disk) ─▶ catalogue (PURE: what changed?) ─▶ journal (durable, numbered) ─▶ service (gRPC) ─▶ subscribers

Any other training platform may take its place: what Waypost needs is `protos/waypost/api/training/v1`.
"""

from training_platform.publishing import publish, withdraw

__all__ = ["publish", "withdraw"]
