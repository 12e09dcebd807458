"""Backup and restore: `waypost backup FILE` and `waypost restore FILE`, where the control plane's data is.

    control plane at work --one snapshot--> FILE: store, authority, files by digest
    FILE --into an empty data directory (and database)--> a control plane with a new incarnation

    commands  the two words (settings: their flags)
    archive   what stands in the file, and how it is checked
    copying   a store's rows into another store, of either kind
    backup    writes a file, beside a control plane that is at work
    restore   makes a data directory of it, all or nothing

The file holds the key of the authority and the hashes of all credentials: it is made for its owner alone (0600), and is
to be kept as such. It is written and read on the machine, not over the API: that key shall never travel because
somebody holds a token.

A restored store has another incarnation, and remembers which it came from. By that the edge knows that it may be asked
to go back, and does not without a person's word (`fleet.restored`, and mesh.link_core for what agents refuse).
"""
