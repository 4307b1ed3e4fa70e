# SPDX-License-Identifier: Apache-2.0
"""A DNS server that a test programs. Names that nobody has programmed have the address 127.0.0.1 and nothing else."""
import socket
import struct
import threading
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset


class DnsStub:
    def __init__(self, address="127.0.0.1", port=0, default_a="127.0.0.1"):
        self.default_a = default_a
        self.lock = threading.Lock()
        self.records = {}    # (name, type) -> [rdata text]
        self.behaviour = {}  # (name, type or None) -> {"rcode"|"delay"|"drop"|"truncate": ...}
        self.queries = []    # (name, type, "udp"|"tcp")
        self.stopping = False
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((address, port))
        self.tcp.listen(50)
        self.address = self.tcp.getsockname()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(self.address)
        for target in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=target, daemon=True).start()

    @property
    def text(self):
        return "%s:%d" % self.address

    def close(self):
        self.stopping = True
        for sock in (self.udp, self.tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    # -- programming --

    @staticmethod
    def key(name, kind):
        return (name.rstrip(".").lower(), dns.rdatatype.from_text(kind) if isinstance(kind, str) else kind)

    def set(self, name, kind, *values):
        """The records of this name and type; none at all: the name exists without them."""
        with self.lock:
            self.records[self.key(name, kind)] = list(values)

    def add(self, name, kind, value):
        with self.lock:
            self.records.setdefault(self.key(name, kind), []).append(value)

    def txt(self, name, *texts):
        self.set(name, "TXT", *['"%s"' % t for t in texts])

    def clear(self, name):
        name = name.rstrip(".").lower()
        with self.lock:
            for table in (self.records, self.behaviour):
                for key in [k for k in table if k[0] == name]:
                    del table[key]

    def behave(self, name, kind=None, **how):
        """rcode="SERVFAIL"; delay=seconds; drop=True; truncate=True (an empty answer with TC over UDP)."""
        with self.lock:
            self.behaviour[self.key(name, kind) if kind else (name.lower(), None)] = how

    def asked(self, name, kind=None):
        with self.lock:
            return [q for q in self.queries if q[0] == name.lower() and (kind is None or q[1] == kind)]

    # -- answering --

    def resolve(self, name, kind, answer, depth=0):
        """Appends what this name has of that type, CNAMEs followed; False: the name does not exist."""
        with self.lock:
            values = self.records.get((name, kind))
            cname = self.records.get((name, dns.rdatatype.CNAME))
            known = values is not None or any(k[0] == name for k in self.records)
        owner = name + "."
        if values is None and cname and kind != dns.rdatatype.CNAME:
            answer.append(dns.rrset.from_text(owner, 5, "IN", "CNAME", *cname))
            target = cname[0].rstrip(".").lower()
            return depth > 12 or self.resolve(target, kind, answer, depth + 1)
        if values is None and not known and not name.startswith("_"):
            if kind == dns.rdatatype.A:
                values = [self.default_a]
            known = True
        if values:
            answer.append(dns.rrset.from_text(owner, 5, "IN", dns.rdatatype.to_text(kind), *values))
        return known

    def answer(self, wire, over):
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        with self.lock:
            self.queries.append((name, dns.rdatatype.to_text(question.rdtype), over))
            how = self.behaviour.get((name, question.rdtype)) or self.behaviour.get((name, None)) or {}
        if how.get("delay"):
            time.sleep(how["delay"])
        if how.get("drop"):
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        if how.get("truncate") and over == "udp":
            reply.flags |= dns.flags.TC
            return reply.to_wire()
        if how.get("rcode"):
            reply.set_rcode(dns.rcode.from_text(how["rcode"]))
        elif question.rdclass == dns.rdataclass.IN and not self.resolve(name, question.rdtype, reply.answer):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        data = reply.to_wire(max_size=65535)
        if over == "udp" and len(data) > max(512, min(query.payload or 512, 1232)):
            reply.answer = []
            reply.flags |= dns.flags.TC
            data = reply.to_wire()
        return data

    def serve_udp(self):
        while not self.stopping:
            try:
                wire, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            threading.Thread(target=self.one_udp, args=(wire, peer), daemon=True).start()

    def one_udp(self, wire, peer):
        try:
            data = self.answer(wire, "udp") if wire else None
            if data:
                self.udp.sendto(data, peer)
        except OSError:
            pass

    def serve_tcp(self):
        while not self.stopping:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.one_tcp, args=(conn,), daemon=True).start()

    def one_tcp(self, conn):
        with conn:
            conn.settimeout(10)
            try:
                while True:
                    head = self.exactly(conn, 2)
                    if not head:
                        return
                    wire = self.exactly(conn, struct.unpack(">H", head)[0])
                    data = self.answer(wire, "tcp") if wire else None
                    if data:
                        conn.sendall(struct.pack(">H", len(data)) + data)
            except OSError:
                pass

    @staticmethod
    def exactly(conn, n):
        data = b""
        while len(data) < n:
            part = conn.recv(n - len(data))
            if not part:
                return b""
            data += part
        return data
