export { errorOf, failureOf, type Failure } from '../failure.js';
