# The stand-in for S3 and SQS, in the version that the tests use.
FROM python:3.11-slim-bookworm
COPY scripts/requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --constraint /tmp/requirements.txt ministack \
    && groupadd --gid 10002 store \
    && useradd --uid 10002 --gid store --no-create-home --home-dir /data --shell /usr/sbin/nologin store \
    && install -d -o store -g store -m 750 /data
COPY --chmod=755 deploy/compose/prepare.py /usr/local/bin/prepare.py
ENV BIND_HOST=0.0.0.0 \
    GATEWAY_PORT=4566 \
    MINISTACK_HOST=store \
    SERVICES=s3,sqs \
    IOT_MTLS_ENABLED=0 \
    SFTP_ENABLED=0 \
    PERSIST_STATE=1 \
    STATE_DIR=/data/state \
    S3_PERSIST=1 \
    S3_DATA_DIR=/data/s3
USER 10002:10002
WORKDIR /data
VOLUME /data
EXPOSE 4566
STOPSIGNAL SIGTERM
CMD ["ministack"]
