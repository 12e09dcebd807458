"""What every RPC of ours answers to requests that nobody would send: made up from the protos, and plain garbage.

The servers are real processes, each with its own credentials in place, so that what is made up gets as far as it can.
An answer is as it must be where it is OK or says precisely what is wrong: a code other than UNKNOWN and INTERNAL, with
a reason. No server may die, hang or keep what it was sent.
"""
