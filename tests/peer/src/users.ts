// The service: one question, answered from PostgreSQL. Any number of these processes share the work in a queue group.
import 'reflect-metadata';
import { Controller, Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, MicroserviceOptions, Payload, RpcException, Transport } from '@nestjs/microservices';
import { Pool, types } from 'pg';
import { setting } from './settings';

// the versions of an account count its changes: far from where a double is inexact
types.setTypeParser(types.builtins.INT8, Number);

// the name makes it a prepared statement; the columns are those that Lectern reads
const SHOW = {
  name: 'show',
  text: `SELECT email, name, phone_sealed, role, roles, is_active, is_verified, created_at, last_login_at, version
         FROM identity.users WHERE id = $1 AND status <> 'deleted'`,
};

@Controller()
class UsersController {
  constructor(@Inject(Pool) private readonly pool: Pool) {}

  @MessagePattern('users.show')
  async show(@Payload() id: string) {
    const { rows } = await this.pool.query({ ...SHOW, values: [id] });
    if (rows.length === 0) throw new RpcException('no such user');
    // whoever measures has no phone number; opening a sealed one is no part of this comparison
    const { phone_sealed: phone, ...user } = rows[0];
    return { id, ...user, phone };
  }
}

@Module({
  controllers: [UsersController],
  providers: [
    { provide: Pool, useFactory: () => new Pool({ connectionString: setting('DATABASE_URL'), max: 5 }) },
  ],
})
class UsersModule {}

async function main() {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(UsersModule, {
    transport: Transport.NATS,
    options: { servers: [setting('NATS_URL')], queue: 'users' },
    logger: ['error', 'warn'],
  });
  await app.listen();
}

void main();
