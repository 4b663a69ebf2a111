-- Devices that have signed in carry a signed token with this number; one more makes all of them strangers again.
ALTER TABLE users ADD COLUMN device_generation bigint NOT NULL DEFAULT 1 CHECK (device_generation > 0);
