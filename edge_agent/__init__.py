"""The edge agent: makes what runs on one edge server equal what should run there.

    app, assembly, settings    the process, and how its parts are put together
      layout                   where everything lies
      lock, stop               one agent per data directory; the end of all that one has started
      enrol, enrolment         how it joins, and who it is since then
      renewal                  keeps its certificate young
    box, box_service           what people do on the machine itself, with or without a control plane
      install, upgrade         versions of the software, brought here; the agent itself by another one (software)
    uplink, upstreams          link 1, to the control planes: desired state down, status up
      commands, journal        what they ask for on behalf of a person, and what became of it
      solitude, wall_clock     for how long none of them was there, on clocks that cannot be relied upon
    ledger, pages              what must survive a kill at any moment
      assignments              what comes down the links, as values
      records                  PURE: what a position's record must hold
    changes, mode              PURE: what may be changed now; what people on the machine asked for
    diff                       PURE: target = overlay(wanted, decision), and the steps from what is to what should be
    supervise, worker          one worker per position takes these steps, over and over
      parts                    what all workers share
    artifacts, blobs           model versions by digest, fetched and verified
      fetching                 a task for each that a position needs, tried again until it is here
      storage                  what a disk says, as errors; how something large leaves it
    crew, gate                 the processes of one position; how many hosts may load at once
      replicas, backoff        PURE: what is seen of its hosts; when one is started again
      drivers/                 what runs monitors and hosts
    health, probe, proving     asks every host for its health, and the gateway for an inference
      samples                  PURE: which inference
    router                     who gets the calls, told to the gateway
      endpoints                PURE: who answers at a position, for the gateway and for its monitor
      gateways/                what carries the calls
    monitors, links            link 2, to the position monitors: orders down, decisions up; on which sockets
      link_authority, keys     what its monitors and hosts are certified by; what tokens of a position are signed by
      orders                   PURE: what a monitor is told
    failure                    why something is not as it should be, for people
    telling                    the status of a position, its events and its orders, to whom they are for
      picture, conditions, positions    PURE: what is known of a position, and the status that follows from it

It executes, dully. What it started outlives it and is adopted again; without the control plane it carries on from its
ledger. It never decides how many replicas or which weights: monitors do, within what people asked for.
"""
