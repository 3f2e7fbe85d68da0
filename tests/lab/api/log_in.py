"""Logs in with the generated client and reads the people; prints the session's token."""

import sys

from rollcall_client import AuthenticatedClient, Client
from rollcall_client.api.people import list_people
from rollcall_client.api.sessions import log_in
from rollcall_client.models import Login

base, ca, name, password = sys.argv[1:]
session = log_in.sync(client=Client(base, verify_ssl=ca), body=Login(name=name, password=password))
people = list_people.sync(client=AuthenticatedClient(base, token=session.token, verify_ssl=ca))
assert [person.number for person in people] == ["900"], people
print(session.token)
