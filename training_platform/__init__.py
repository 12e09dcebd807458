"""The reference training platform: a directory of models, served over `training.v1`.

    DIR/<application>/application.json                      description; may be missing
    DIR/<application>/<model>/model.json                    description; may be missing
    DIR/<application>/<model>/<version>/manifest.json       a PublishedVersion as ProtoJSON, beside the files it names
    DIR/.waypost/                                           ours: log, tokens, deployment reports

`publish` puts a version there in one rename. `serve` looks at the directory several times a second, compares what it
sees with what its log says it has told, and appends the difference to the log, numbered; subscribers follow the log.
So nothing is lost by a kill at any moment: what was not logged is seen again, what was logged is told again.

    layout (disk) ─▶ catalogue (what changed?) ─▶ journal (durable, numbered) ─▶ service (gRPC) ─▶ subscribers

    app, settings    the command, and its flags
    publishing       puts versions into the directory, and takes them back
    report           the directory, for people
    serving          one server for one directory, from the lock to the last subscriber
    follow           the arrows above, several times a second
      layout         the directory as it is now: read, checked, never believed
      manifest       PURE: what a manifest may say
      catalogue      PURE: what has been told, and what has to be told next
      journal        what was told, on disk before anybody hears it
    service          `training.v1`
      access         who may subscribe
      deployments    where published versions serve, as subscribers report it

Any other training platform may take its place: what Waypost needs is `protos/waypost/api/training/v1`.
"""

from training_platform.publishing import publish, withdraw

__all__ = ["publish", "withdraw"]
