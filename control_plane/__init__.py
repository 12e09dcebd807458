"""The fleet's brain: keeps what people want, plans what each edge server shall run, and shows what is.

    app            the process                           assembly       which part gets which (settings)
    services/      the public API                        access/        who may call (audit: who did)
    root_rotation  a root of all certificates, replaced by another one
    registry/      models, from training platforms (sources/) and from people
    peers/         other control planes on the same store
    fleet/         one session per agent; metrics, commands
    reconcile/     the loop around the planner           domain/        PURE: planning, checks of input, statuses
    identity/      roots, certificates, and who gets one
    artifacts/     files by digest                       backups/       backup and restore
    store/         revisioned records, observed state, events, history
      mirror       records in memory                     reports        what positions report, in memory
    events         what people are told of what happened
    conditions     how conditions are made
    gathering      one call for many callers             alone          one control plane, or several

It never talks to a container engine or a gateway and never loads a model. When it is away, every edge server serves on.
"""
