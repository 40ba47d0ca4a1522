# The gateway alone on an empty image: one static binary, no shell, no root.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.linked=${VERSION}" -o /out/understudy ./cmd/understudy \
 && install -d -m 0750 /out/state

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/understudy /usr/local/bin/understudy
# State and audit log; mount a volume here, or a rollback is forgotten with the container.
COPY --from=build --chown=nonroot:nonroot /out/state /var/lib/understudy
VOLUME /var/lib/understudy
# 8081 Open Inference Protocol, 8082 admin, metrics and health.
EXPOSE 8081 8082
USER nonroot:nonroot
ENTRYPOINT ["understudy"]
CMD ["serve", "--config", "/etc/understudy/understudy.yaml"]
