"""A balancer's end of the feed in another language, out of nothing but the proto file.

Usage: feed_client.py PROTO-FOLDER ADDRESS

Prints a line of JSON for each update; takes the first one but for the service `web`, which it refuses,
and tells of a backend. Ends after the second update.
"""

import json
import queue
import sys
import tempfile

import grpc
from grpc_tools import protoc

protos, address = sys.argv[1:3]
stubs = tempfile.mkdtemp()
words = ["", f"-I{protos}", f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
assert protoc.main([*words, "guideway/v1/feed.proto"]) == 0
sys.path.insert(0, stubs)

from guideway.v1 import feed_pb2, feed_pb2_grpc  # noqa: E402

requests = queue.Queue()
hello = feed_pb2.Hello(node="python", version=grpc.__version__, features=["name", "port"])
requests.put(feed_pb2.FollowRequest(hello=hello))
channel = grpc.insecure_channel(address)
updates = feed_pb2_grpc.ServiceFeedStub(channel).Follow(iter(requests.get, None))
for count, update in enumerate(updates):
    names = [resource.name for resource in update.resources]
    ports = [resource.service.port for resource in update.resources]
    told = {"revision": update.revision, "names": names, "ports": ports}
    print(json.dumps({**told, "removed": list(update.removed), "is_last": update.is_last}), flush=True)
    errors = [
        feed_pb2.ResourceError(name=resource.name, version=resource.version, problems=["not here"])
        for resource in update.resources
        if resource.name == "web" and count == 0
    ]
    answer = feed_pb2.Answer(nonce=update.nonce, revision=update.revision, errors=errors)
    requests.put(feed_pb2.FollowRequest(answer=answer))
    backend = feed_pb2.BackendProgress(name="b1", health="up", flows=7)
    service = feed_pb2.ServiceProgress(name="dns", backends=[backend])
    requests.put(feed_pb2.FollowRequest(progress=feed_pb2.Progress(services=[service])))
    if count == 1:
        break
requests.put(None)
