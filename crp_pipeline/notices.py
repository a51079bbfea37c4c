"""Who is told what: the log always, a webhook or a mailbox where the settings name one."""
