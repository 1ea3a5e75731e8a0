export * from './server.ts'
export { commandLineClient, startServer } from './start-server.ts'
export { type Servers, startServers } from './start-servers.ts'
export { type TcpProxy, tcpProxy } from './tcp-proxy.ts'
