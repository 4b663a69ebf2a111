// The gateway: HTTP by Fastify, a token check, and the question over NATS.
import 'reflect-metadata';
import {
  CanActivate, Controller, ExecutionContext, Get, Inject, Injectable, Module, Req, UnauthorizedException, UseGuards,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxy, ClientsModule, Transport } from '@nestjs/microservices';
import { FastifyAdapter, NestFastifyApplication } from '@nestjs/platform-fastify';
import { JWTPayload, createRemoteJWKSet, jwtVerify } from 'jose';
import { setting } from './settings';

interface Authenticated {
  headers: { authorization?: string };
  user: JWTPayload;
}

const RULES = { algorithms: ['EdDSA'], typ: 'at+jwt', issuer: 'lectern', audience: 'lectern', clockTolerance: 5 };
const REMEMBERED = 100_000;

@Injectable()
class TokenGuard implements CanActivate {
  private readonly keys = createRemoteJWKSet(new URL(setting('JWKS_URL')));
  // Lectern remembers a signature that it has verified, so its peer does, too; the expiry is looked at every time.
  private readonly verified = new Map<string, JWTPayload>();

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<Authenticated>();
    const token = request.headers.authorization?.match(/^Bearer (.+)$/i)?.[1];
    if (!token) throw new UnauthorizedException();
    request.user = this.verified.get(token) ?? (await this.verify(token));
    if (request.user.exp! * 1000 > Date.now()) return true;
    this.verified.delete(token);
    throw new UnauthorizedException();
  }

  private async verify(token: string): Promise<JWTPayload> {
    const { payload } = await jwtVerify(token, this.keys, { ...RULES, requiredClaims: ['sub', 'exp'] }).catch(() => {
      throw new UnauthorizedException();
    });
    if (this.verified.size >= REMEMBERED) this.verified.clear();
    this.verified.set(token, payload);
    return payload;
  }
}

@Controller('api/v1/users')
@UseGuards(TokenGuard)
class UsersController {
  constructor(@Inject('USERS') private readonly users: ClientProxy) {}

  @Get('me')
  me(@Req() request: Authenticated) {
    return this.users.send('users.show', request.user.sub);
  }
}

@Module({
  imports: [
    ClientsModule.register([{ name: 'USERS', transport: Transport.NATS, options: { servers: [setting('NATS_URL')] } }]),
  ],
  controllers: [UsersController],
})
class GatewayModule {}

async function main() {
  const app = await NestFactory.create<NestFastifyApplication>(GatewayModule, new FastifyAdapter(), {
    logger: ['error', 'warn'],
  });
  await app.listen(Number(setting('PORT')), '127.0.0.1');
}

void main();
