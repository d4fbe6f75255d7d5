# One image for every service and role; the command says which.
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock ./
# Everything that may be installed is fetched and checked against its hash here ...
RUN pip download --quiet --no-cache-dir --no-deps --require-hashes -r requirements.lock -d /wheels
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY deploy deploy
# ... and only what the services need of it goes in: no test tools, no local servers.
RUN python -m venv /opt/throughline \
    && /opt/throughline/bin/pip install --quiet --no-cache-dir --no-index --find-links /wheels . \
    && /opt/throughline/bin/python -m compileall -q /opt/throughline/lib

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin throughline
COPY --from=build /opt/throughline /opt/throughline
ENV PATH=/opt/throughline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["throughline"]
CMD ["--help"]
