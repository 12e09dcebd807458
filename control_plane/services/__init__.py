"""The control plane's public API: one module per service of waypost.api.control.v1.

Each is a few lines over what they share, which stands below.

    project, application, position, edge_server, subscription, user, role_binding    resources that people write
    model, event, audit, authority, platform    what else there is to read, and to do
    credential, session    secrets: of programs, and of people
    watch          everything that changes, as it changes
      watch_view   what one watcher was shown, and what is news to it
    login          proving who one is with a password (of session)
    admin_token    the first credential
    rotation       replacing a credential without a moment in which none is good (of credential)
    position_live  what is asked of a running position: figures, logs, one inference
    quotas         a project's quota, where a commit takes of it

    families      the kinds that people write, in one table: how they are judged, what may be changed, what owns them
    kit           what every service works with
    writing       creating, changing and deleting
      masks       which parts an update replaces
    listing       lists: which names a parent means, and one page of them
      pages       page sizes and page tokens
    statuses      what statuses are made of, for many resources at once
"""
