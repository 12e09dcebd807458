"""Roots, certificates, and who gets one (docs/identity.md).

    authority     the roots, and what they sign
      roots       what is trusted while a root is replaced
    own           our own certificate
    identities    names and addresses of our two ports
    enrolment     how an agent gets its certificate
      joining     what a join token is worth
      revocation  whose certificates are good no more

What these decide is in the store; keys lie in the data directory, 0600, and nowhere else.
"""
