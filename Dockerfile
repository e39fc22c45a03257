# The agent alone: no compiler, no pip, no shell script, nothing to fetch at run time. Multi-platform:
#   docker buildx build --platform linux/amd64,linux/arm64 -t gatepost .
#
# A release pins the base by digest, so that the same source gives the same image:
#   docker buildx imagetools inspect python:3.11-slim-bookworm      shows the digest
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:… .
ARG BASE=python:3.11-slim-bookworm

# ── everything that needs tools happens here ────────────────────────────────────────────────────────────────
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /build
RUN python -m venv /opt/gatepost
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN /opt/gatepost/bin/python -m pip install --require-hashes --no-deps --only-binary=:all: \
      -r requirements/build.txt -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
RUN /opt/gatepost/bin/python -m pip install --no-deps --no-build-isolation --no-index . \
 && /opt/gatepost/bin/python -m pip uninstall --yes setuptools pip

# ── what runs ───────────────────────────────────────────────────────────────────────────────────────────────
FROM ${BASE}
LABEL org.opencontainers.image.title="gatepost" \
      org.opencontainers.image.description="Posts shop-floor reports to the ERP exactly once" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN python -m pip uninstall --yes --root-user-action=ignore wheel setuptools pip \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin gatepost \
 && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=build /opt/gatepost /opt/gatepost
COPY edge_config /app/edge_config
COPY models /app/models

ENV PATH=/opt/gatepost/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GATEPOST_DATA=/data
WORKDIR /app
# The root is meant to be mounted read-only; this is the one place that is written to.
VOLUME /data
USER 10001:10001
EXPOSE 18080 18090
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:18090/live', timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gatepost"]
CMD ["run", "/app/edge_config/agent.yaml"]
