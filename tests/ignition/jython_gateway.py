# The script library under real Jython 2.7, driven line by line: a command as JSON on stdin, what came of it on stdout.
# `system` is as small as the library needs, with Java's own HTTP client, as a gateway has it; no secret provider, as in 8.1.

import imp
import json
import os
import sys

from java.io import IOException
from java.net import URI
from java.net.http import HttpClient, HttpRequest, HttpResponse
from java.time import Duration
from java.util import Date

TAGS, ASKED, TOLD, LOGGED = {}, [], [], []


class Folder(object):
    def __init__(self, **functions):
        self.__dict__.update(functions)


class Value(object):
    def __init__(self, value):
        self.value = value
        self.quality = self

    def isGood(self):
        return self.value is not None


class Table(object):
    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows

    def getRowCount(self):
        return len(self.rows)

    def getColumnNames(self):
        return self.columns

    def getValueAt(self, row, column):
        return self.rows[row][column]


class Answer(object):
    def __init__(self, answer):
        self.statusCode, self.text = answer.statusCode(), answer.body()


class Client(object):
    def __init__(self, timeout, version):
        self.client = HttpClient.newBuilder().connectTimeout(Duration.ofMillis(timeout)).version(
            getattr(HttpClient.Version, version)
        ).build()

    def _send(self, builder, headers, timeout):
        for name, value in headers.items():
            builder.header(name, value)
        request = builder.timeout(Duration.ofMillis(timeout)).build()
        return Answer(self.client.send(request, HttpResponse.BodyHandlers.ofString()))

    def get(self, url, headers, timeout):
        return self._send(HttpRequest.newBuilder(URI.create(url)).GET(), headers, timeout)

    def post(self, url, data, headers, timeout):
        sent = HttpRequest.BodyPublishers.ofString(data)
        return self._send(HttpRequest.newBuilder(URI.create(url)).POST(sent), headers, timeout)


class Passed(object):
    """A challenge that somebody passed."""

    def __init__(self, names, roles):
        self.names, self.roles = names, roles

    def isSuccess(self):
        return True

    def getAsSuccess(self):
        return self

    getContext = getUser = getAsSuccess

    def get(self, name):
        return self.names.get(name)

    def getRoles(self):
        return self.roles


class Cancelled(object):
    def isSuccess(self):
        return False

    def getAsError(self):
        return "CANCELLED"


def write(paths, values):
    TAGS.update(zip(paths, values))
    return [Value(True) for _ in paths]


def logger(name):
    say = lambda text: LOGGED.append(text)
    return Folder(warn=say, info=say, error=say, debug=say)


system = Folder(
    tag=Folder(readBlocking=lambda paths: [Value(TAGS.get(one)) for one in paths], writeBlocking=write),
    net=Folder(httpClient=Client),
    util=Folder(getLogger=logger),
    date=Folder(fromMillis=Date),
    dataset=Folder(toDataSet=Table),
    perspective=Folder(
        authenticationChallenge=lambda **said: ASKED.append(said),
        sendMessage=lambda message, payload, **said: TOLD.append(payload),
    ),
)


def library(folder):
    found = Folder()
    for name in os.listdir(folder):
        module = imp.new_module("gatepost." + name)
        module.__dict__.update(system=system, gatepost=found)
        setattr(found, name, module)
    for name in os.listdir(folder):  # `gateway` first: others name its exceptions only when they run
        path = os.path.join(folder, name, "code.py")
        exec(compile(open(path).read(), path, "exec"), getattr(found, name).__dict__)
    return found


gatepost = library(sys.argv[1])
gatepost.gateway.ANSWER_MS = 60000  # on a busy machine a slow answer is no fault


def plain(value):
    if isinstance(value, Table):
        return gatepost.queue.rows(value)
    return value.getTime() if isinstance(value, Date) else value


def begin(wanted):
    """The challenge's payload goes through JSON, as on a gateway."""
    said = gatepost.signing.begin("line3-panel", "session", "page", wanted)
    if said:
        return said
    ASKED[-1] = json.loads(json.dumps(ASKED[-1]))
    return ASKED[-1]


def complete(asked, names, roles):
    result = Cancelled() if names is None else Passed(names, roles)
    gatepost.signing.complete("session", "default", asked["payload"], result)
    return TOLD[-1]


def locked(yes):
    """A secret provider of 8.3 that gives nothing away, or none, as in 8.1."""
    if yes:
        def refuse(provider, name):
            raise IOException("the provider is locked")
        system.secrets = Folder(readSecretValue=refuse)
    else:
        del system.secrets


COMMANDS = {
    "locked": locked,
    "set": lambda name, value: TAGS.update({"[default]Gatepost/" + name: value}),
    "poll": lambda: gatepost.poll.run(),
    "tags": lambda: dict([(name.rsplit("/", 1)[1], plain(value)) for name, value in TAGS.items()]),
    "open": lambda id, roles: gatepost.approval.opened(id, roles),
    "trace": lambda name: gatepost.trace.found(name),
    "begin": begin,
    "complete": complete,
    "shown": lambda line: gatepost.queue.shown(TAGS["[default]Gatepost/Board/Approvals"], line, "", ""),
    "logged": lambda: LOGGED,
}

while True:
    line = sys.stdin.readline()
    if not line:
        break
    command = json.loads(line)
    print(json.dumps({"said": COMMANDS[command[0]](*command[1:])}))
    sys.stdout.flush()
