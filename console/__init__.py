"""What people use: the `waypost` command, a client of the public API like any other.

    cli/        the command itself, one module per group of commands
    local/      `waypost up`: the whole platform on one machine
    contexts    which platform is meant, and the credential for it
    client      the API of that platform, with errors that a person can act on
    kinds       what there is to get, list, create, update and delete
    specs       resources as YAML, for people who keep them in git
    rollout     whether a deployment has arrived, is on its way, or never will
    text        tables, ages and sizes

Nothing here decides anything about a fleet: whatever the console can do, a generated client in any language can.
"""
