import { pino, stdTimeFunctions, type DestinationStream, type Logger } from 'pino';

export type { Logger };

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Structured JSON lines, for standard error: standard output belongs to what a command answers. */
export function createLogger(level: LogLevel, output: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    output,
  );
}

/** The line that stands where lines are missing. */
export function lostLines(lines: number): string {
  return `${JSON.stringify({ level: 'warn', time: new Date().toISOString(), lines, msg: 'log lines were lost' })}\n`;
}

/** For tests and for library use without a daemon. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}
