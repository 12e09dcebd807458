"""The fleet's brain: keeps what people want, plans what each edge server shall run, and shows what is.

    services/    the public API: resources, watches, events           access.py       who may call it
    store/       revisioned records, observed state, events, history   mirror.py       records in memory
    domain/      PURE: planning, checks of input, what statuses say    reconcile/      the loop around the planner
    fleet/       one session per agent; metrics, commands              enrolment.py    how an agent gets its certificate
    registry/    models, from training platforms and from people       sources/        the training platforms
    artifacts.py files by digest (artifact_service.py: over gRPC)      authority.py    the root, and what it signs
    app.py       the process          assembly.py   which part gets which          settings.py    what can be chosen

It never talks to a container engine or a gateway and never loads a model. When it is away, every edge server serves on.
"""
