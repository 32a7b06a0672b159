"""The cluster as containers of docker-compose.yml."""

import contextlib
import functools
import json
import os
import subprocess
import threading

from common import GIVEN, GIVEN_NEXT, ROOT, STATE, Signals, fail, run

# More than the drain of a gateway.
STOP_S = 40


@functools.cache
def program():
    """`docker compose` or `docker-compose`, whichever is there."""
    for candidate in (["docker", "compose"], ["docker-compose"]):
        with contextlib.suppress(OSError):
            if subprocess.run([*candidate, "version"], capture_output=True).returncode == 0:
                return candidate
    return None


def compose(*command):
    environment = os.environ | {"PORTCULLIS_CLUSTER_DIR": str(STATE)}
    # Compose wants the file of credentials to be there whatever it is asked, also who is running.
    if not (STATE / "credentials" / "gateway.env").exists():
        run(ROOT / "scripts" / "make-dev-certs", env=environment)
    return run(*program(), *command, env=environment)


class Compose:
    kind = "compose"

    @staticmethod
    def works():
        """Whether an engine answers and compose is there."""
        with contextlib.suppress(OSError):
            return subprocess.run(["docker", "info"], capture_output=True).returncode == 0 and program() is not None
        return False

    # --- up and down

    def up(self, replicas):
        image = os.environ.get("PORTCULLIS_IMAGES", "") + "portcullis:local"
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode != 0:
            fail(69, f"there is no image {image}: scripts/images makes it (--offline without a registry)")
        run(ROOT / "scripts" / "make-dev-certs", env=os.environ | {"PORTCULLIS_CLUSTER_DIR": str(STATE)})
        self.scale(replicas)

    def scale(self, replicas):
        compose("up", "-d", "--no-build", "--no-recreate", "--scale", f"gateway={replicas}")

    def down(self):
        compose("--profile", "prometheus", "down", "--volumes", "--timeout", "10")
        # The rest of the folder is its owner's.
        self.remove_api(None)

    def notes(self):
        return [f"logs     {' '.join(program())} logs -f gateway"]

    # --- who is there

    def names(self):
        """Containers of gateways, stopped ones too."""
        return sorted(name_of(container) for container in compose("ps", "-a", "-q", "gateway").split())

    def admin(self, name):
        done = subprocess.run(["docker", "port", name, "9902/tcp"], capture_output=True, text=True)
        if not (done.returncode == 0 and done.stdout):
            return None
        host, _, port = done.stdout.splitlines()[0].rpartition(":")
        return host, int(port)

    def _container(self, service):
        return compose("ps", "-a", "-q", service).split()[0]

    # --- faults

    def kill(self, name):
        run("docker", "kill", name)

    def stop(self, name):
        run("docker", "stop", "--time", STOP_S, name)

    def start(self, name):
        run("docker", "start", name)

    def kill_service(self, service):
        run("docker", "kill", self._container(service))

    def start_service(self, service):
        run("docker", "start", self._container(service))

    def freeze(self, service):
        run("docker", "pause", self._container(service))

    def thaw(self, service):
        container = self._container(service)
        if run("docker", "inspect", "--format", "{{.State.Paused}}", container).strip() == "true":
            run("docker", "unpause", container)

    @contextlib.contextmanager
    def pulses(self, service, still_s, flowing_s):
        """Stands still and goes on in turns, which any engine can do; a slow network needs a kernel with netem."""
        container, ended = self._container(service), threading.Event()

        def beat():
            while not ended.is_set():
                run("docker", "pause", container)
                ended.wait(still_s)
                run("docker", "unpause", container)
                ended.wait(flowing_s)

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield f"{service} stood still for {still_s * 1000:.0f} ms again and again"
        finally:
            with Signals.wait():
                ended.set()
                thread.join()
                self.thaw(service)

    def slow_redis(self):
        return self.pulses("redis", 0.1, 0.1)

    def cut(self, name):
        """Takes a replica off the network of Redis."""
        run("docker", "network", "disconnect", "--force", self._storage(), name)

    def join(self, name):
        if self._storage() not in networks_of(name):
            run("docker", "network", "connect", self._storage(), name)

    def _storage(self):
        return next(name for name in networks_of(self._container("redis")) if name.endswith("storage"))

    # --- configuration

    def write_api(self, _replica, text):
        """Every replica reads the same folder: what one is given, all see."""
        beside = STATE / "apis" / GIVEN_NEXT
        beside.write_text(text)
        beside.rename(STATE / "apis" / GIVEN)

    def remove_api(self, _replica):
        for file in (STATE / "apis" / GIVEN, STATE / "apis" / GIVEN_NEXT):
            try:
                # A folder was not made by `write_api`.
                if not file.is_dir():
                    file.unlink(missing_ok=True)
            except OSError as error:
                fail(77, f"{file} cannot be removed: {error.strerror}")

    def wall_clock(self, _name):
        return None, "containers share the clock of their host"


def name_of(container):
    return run("docker", "inspect", "--format", "{{.Name}}", container).strip().lstrip("/")


def networks_of(container):
    return json.loads(run("docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", container))
