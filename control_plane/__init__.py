"""The fleet's brain: keeps what people want, plans what each edge server shall run, and shows what is.

    services/      the public API: resources, watches, events          access/         who may call (audit.py: who did)
    domain/        PURE: planning, checks of input, what statuses say  reconcile/      the loop around the planner
    store/         revisioned records, observed state, events, history  mirror.py      records in memory
    fleet/         one session per agent; metrics, commands            reports.py      what positions report, in memory
    registry/      models, from training platforms and from people     sources/        the training platforms
    artifacts.py   files by digest (artifact_service.py: over gRPC)    authority.py    the roots, and what they sign
    peers/         other control planes on the same store              backups/        backup and restore
    enrolment.py   how an agent gets its certificate (joining.py: what a token is worth; revocation.py)
    roots.py       what is trusted while a root is replaced (root_rotation.py)    own_identity.py   our own certificate
    identities.py  names and addresses of our two ports                admin_token.py  the first credential
    events.py      what people are told of what happened               conditions.py   how conditions are made
    gathering.py   one call for many callers
    settings.py    what can be chosen                                  alone.py        one control plane, or several
    app.py         the process                                         assembly.py     which part gets which

It never talks to a container engine or a gateway and never loads a model. When it is away, every edge server serves on.
"""
