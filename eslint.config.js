import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const processModules = ['execa', 'child_process', 'node:child_process'];

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', '.tools/', '**/fixtures/', 'src/protocol/generated*/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: 'error',
      'no-console': 'error',
      // Sentences name their subject: callers, the daemon, a killed process.
      'no-warning-comments': [
        'error',
        { terms: ['todo', 'fixme', 'whoever', 'nobody', 'somebody', 'anybody'], location: 'anywhere' },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Labels are maps by design: removing one by its key is meant.
      '@typescript-eslint/no-dynamic-delete': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    files: ['src/**/*.ts', 'cmd/**/*.ts'],
    rules: {
      'max-lines': ['error', { max: 300, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    // Processes are started in one place, with a deadline and a signal; these rooms alone own one.
    files: ['src/**/*.ts', 'cmd/**/*.ts'],
    ignores: ['src/{host,vm}/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        { paths: processModules.map((name) => ({ name, message: "Start processes through src/host's run." })) },
      ],
    },
  },
  {
    files: ['test/**/*.ts', 'scripts/**/*.ts'],
    rules: {
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['test/**/*.test.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'MemberExpression[object.name=/^(it|test|describe|suite)$/][property.name=/^(only|skip|todo|skipIf)$/]',
          message: 'Name what the machine must offer with requires() of test/harness instead.',
        },
      ],
    },
  },
  {
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', module: 'writable', URL: 'readonly' } },
  },
);
