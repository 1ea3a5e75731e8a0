# reflex-bridge as a service:  docker build -t reflex-bridge . && docker run --rm -v ./bridge.yaml:/etc/reflex-bridge/bridge.yaml:ro reflex-bridge
FROM node:24-bookworm-slim AS package
WORKDIR /package
COPY . .
RUN npm ci && npm run build && npm pack --ignore-scripts --pack-destination /tmp

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=package /tmp/reflex-bridge-*.tgz /tmp/reflex-bridge.tgz
# The clients are peers: all of them, so that a configuration may name any broker.
RUN npm install --omit=dev --no-audit --no-fund /tmp/reflex-bridge.tgz mysql2@3 kafkajs@2.2.4 ioredis@6 @nats-io/transport-node@3 \
  && rm /tmp/reflex-bridge.tgz && npm cache clean --force
# Not root: it writes nothing but what goes to the servers.
USER node
# 9464 is the admin server, if the configuration has one; from outside of the container only with `host: 0.0.0.0` and a token.
EXPOSE 9464
# SIGTERM drains within drainMs (10 s by default), which is less than the stop_grace_period of the example.
ENTRYPOINT ["node", "node_modules/reflex-bridge/dist/cli/main.js"]
CMD ["run", "/etc/reflex-bridge/bridge.yaml"]
