"""The registry: models and their versions, as they come from training platforms and from people.

    training platform --events--> Follower --one commit per event--> store: version IMPORTING, cursor
    store: version IMPORTING --> Importer: fetch by digest, check in a confined child --> AVAILABLE or INVALID
    position reports --> Reporter --what serves--> training platform

Each arrow looks at what is, not at what happened, so that each part may be killed at any moment and goes on: the
cursor is a record that is committed together with what its event changed; a version that is IMPORTING when the process
dies is IMPORTING when the next one starts; and what serves is told as a whole.

    registry     a follower for each subscription, as they come and go, and the one importer
    follower     hears one training platform, and makes what it hears durable
    translate    PURE: what an event means
    importer     brings versions from IMPORTING to AVAILABLE or INVALID
    versions     PURE: what a version's files must look like
    check        asks the inference host whether a package can be served
    reporter     tells a training platform where its versions serve
"""
