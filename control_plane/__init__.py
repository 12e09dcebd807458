"""The fleet's brain: keeps what people want, plans what each edge server shall run, and shows what is.

    services/     the public API: resources, watches, events           access.py     who may call it
    domain/       PURE: planning, checks of input, what statuses say   reconcile/    the loop around the planner
    store/        revisioned records, observed state, events, history  mirror.py     records in memory
    fleet/        one session per agent; metrics, commands             reports.py    what positions report, in memory
    registry/     models, from training platforms and from people      sources/      the training platforms
    artifacts.py  files by digest (artifact_service.py: over gRPC)     authority.py  the root, and what it signs
    peers/        other control planes on the same store               backups/      backup and restore
    enrolment.py  how an agent gets its certificate                    settings.py   what can be chosen
    app.py        the process                                          assembly.py   which part gets which

It never talks to a container engine or a gateway and never loads a model. When it is away, every edge server serves on.
"""
