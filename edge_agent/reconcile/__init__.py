"""One worker per position takes the steps from what is to what should be, looks, and begins again.

    supervise    all workers: who is to be woken
    worker       one of them
      parts      what all of them share
      crew       its monitor and its hosts, through the driver      gate     how many hosts may load at once
      proving    does the position answer?                          probe    asks the gateway for an inference
      telling    its status, its events and its orders, to whom they are for
    health       asks every host for its health
    router       who gets the calls, told to the gateway

No step is remembered: whoever was killed begins by looking.
"""
