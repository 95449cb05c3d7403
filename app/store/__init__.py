"""What must survive a crash: the database, its one way to write, the event log, the task table and the inbox.

What differs between SQLite and PostgreSQL lives in this room and nowhere else.
"""
