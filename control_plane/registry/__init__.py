"""The registry: models and their versions, as they come from training platforms and from people.

    training platform --events--> Follower --one commit per event--> store: version IMPORTING, cursor
    store: version IMPORTING --> Importer: fetch by digest, check in a confined child --> AVAILABLE or INVALID
    position reports --> Reporter --what serves--> training platform

Each arrow looks at what is, not at what happened, so that each part may be killed at any moment and goes on: the
cursor is a record that is committed together with what its event changed; a version that is IMPORTING when the process
dies is IMPORTING when the next one starts; and what serves is told as a whole.

`translate` decides what an event means (pure), `versions` what a version's files must look like (pure).
"""
