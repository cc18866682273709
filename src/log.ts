import { destination, pino, stdTimeFunctions, type Logger } from 'pino';

export type { Logger };

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Structured JSON lines on standard error; standard output belongs to what a command answers. */
export function createLogger(level: LogLevel): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ dest: 2, sync: true }),
  );
}

/** For tests and for library use without a daemon. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}
